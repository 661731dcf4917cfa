"""What ``CNNRNNHead`` read from a batch, and how it says where it looked."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from .decoding import path_attention

__all__ = ['Decoded', 'label_attention', 'set_paths']


class Decoded(NamedTuple):
    """What was read from a batch.

    =============  ===============  ===========================================================================
    field          shape            meaning
    =============  ===============  ===========================================================================
    ``scores``     (B, C)           in [0, 1]
    ``paths``      (B, T) long      the best path of each picture, END behind its end
    ``log_probs``  (B,), or None    of that path; a run without END has none
    ``emitted``    (B, T) long      what each step gave to the path, END where nothing
    ``tokens``     (B, T) long      what each step read
    =============  ===============  ===========================================================================
    """

    scores: Tensor
    paths: Tensor
    log_probs: Tensor | None
    emitted: Tensor
    tokens: Tensor


def set_paths(samples: Sequence[DataSample], paths: Sequence[Tensor], log_probs: Tensor | None) -> None:
    """Write ``label_path`` (n,) and, where there are any, ``path_logprob`` to the samples."""
    for index, (sample, path) in enumerate(zip(samples, paths, strict=True)):
        sample.set_field(path.clone(), 'label_path')
        if log_probs is not None:
            sample.set_field(log_probs[index].clone(), 'path_logprob')


def label_attention(decoder: nn.Module, decoded: Decoded, context, num_labels: int) -> Tensor:
    """Of each label where the step looked that emitted it first, (B, C, N); all zero of the others."""
    looks = path_attention(decoder, decoded.tokens, context)
    emitted = decoded.emitted[..., None] == torch.arange(num_labels, device=looks.device)
    first = emitted & (emitted.long().cumsum(dim=1) == 1)
    return first.to(looks.dtype).transpose(1, 2) @ looks

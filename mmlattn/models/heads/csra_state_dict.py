"""Reading CSRA classifiers in every spelling they are found in.

Ours is packed: ``weight`` (H, C, D), row [h, c], an optional ``bias`` (C,), and the settings as buffers. Others,
relative to the head (key patterns; shapes (C, D, 1, 1) or (C, D) for each head):

=========  =======================================  ================================================
layout     keys                                     found in
=========  =======================================  ================================================
mm         ``csra_heads.{i}.head.weight``           mmpretrain's ``CSRAClsHead``
A, B       ``[classifier.]multi_head.{i}.head.weight``  the official ResNet and ViT releases
L1         ``[classifier.]fc{i+1}.weight``          older official ResNet files
L2         ``head{i+1}.weight``, ``.bias``          the official COCO ViT files; plus an unused ``head.*``
linear     ``fc.weight``, ``fc.bias``               ``MultiLabelLinearClsHead``: training-free CSRA
=========  =======================================  ================================================
"""

import re

import torch
from torch import Tensor, nn

__all__ = ['check_settings', 'to_packed']

SETTINGS = ('csra_lam', 'csra_temperatures', 'csra_normalize')

_PER_HEAD = (
    (re.compile(r'csra_heads\.(\d+)\.head\.(weight)'), 0),
    (re.compile(r'(?:classifier\.)?multi_head\.(\d+)\.head\.(weight)'), 0),
    (re.compile(r'(?:classifier\.)?fc(\d+)\.(weight)'), 1),
    (re.compile(r'head(\d+)\.(weight|bias)'), 1),
)


def to_packed(state_dict: dict, prefix: str, head: nn.Module) -> None:
    """Rewrite a foreign layout under ``prefix`` to the packed one, in place; the packed one stays as it is.

    Args:
        state_dict (dict): The state dict being loaded; foreign keys are replaced.
        prefix (str): Prefix of the head's keys, such as ``'head.'``.
        head (CSRAHead): The head that loads.

    Raises:
        ValueError: If the file holds another number of heads, or biases or a linear classifier that a head with
            these settings can't represent.
    """
    foreign = {k: v for k, v in state_dict.items() if k.startswith(prefix)}
    names = {key[len(prefix) :]: key for key in foreign}
    if 'fc.weight' in names and f'{prefix}weight' not in state_dict:
        _pack_linear(state_dict, prefix, head)
        return
    for pattern, first in _PER_HEAD:
        matches = {m: key for name, key in names.items() if (m := pattern.fullmatch(name))}
        if matches:
            tensors = {(int(m[1]) - first, m[2]): state_dict.pop(key) for m, key in matches.items()}
            _pack_heads(tensors, state_dict, prefix, head)
            # The official COCO ViT files keep the unused ImageNet classifier beside the heads.
            for leftover in ('head.weight', 'head.bias'):
                state_dict.pop(prefix + leftover, None)
            return


def check_settings(state_dict: dict, prefix: str, head: nn.Module) -> None:
    """Compare the stored settings with the head's; a file without them is taken to agree.

    Raises:
        ValueError: If the weights were trained with another lam, other temperatures or the other normalisation.
    """
    for name in SETTINGS:
        own, stored = getattr(head, name), state_dict.setdefault(prefix + name, getattr(head, name))
        # Loosely, so that a file whose floats were halved still agrees.
        agree = stored.shape == own.shape and torch.allclose(
            stored.double().cpu(), own.double().cpu(), rtol=1e-3
        )
        if not agree:
            argument = name.removeprefix('csra_')
            raise ValueError(
                f'these weights were trained with {argument}={stored.tolist()}, this head has '
                f'{argument}={own.tolist()}. Set {argument} in the head config to the stored value, or delete '
                f'"{prefix}{name}" from the state dict to use the weights otherwise'
            )


def _pack_heads(
    tensors: dict[tuple[int, str], Tensor], state_dict: dict, prefix: str, head: nn.Module
) -> None:
    """Stack per-head tensors, keyed by (head index, 'weight' | 'bias')."""
    weights = [tensors[i, 'weight'] for i in sorted(i for i, kind in tensors if kind == 'weight')]
    if len(weights) != len(head.weight):
        raise ValueError(
            f'the file holds {len(weights)} CSRA classifiers, this head has {len(head.weight)}; '
            f'set num_heads={len(weights)} and its temperatures'
        )
    weights = torch.stack([w.flatten(1) for w in weights])
    state_dict[f'{prefix}weight'] = weights
    biases = [tensors[i, 'bias'] for i in sorted(i for i, kind in tensors if kind == 'bias')]
    if biases:
        state_dict[f'{prefix}bias'] = _fold_biases(torch.stack(biases), weights, head)


def _fold_biases(biases: Tensor, weights: Tensor, head: nn.Module) -> Tensor:
    """Per-head biases as one vector: base and att both shift by b, so b counts 1 + lam times in each head.

    The bias belongs to the score before normalisation, so it is divided by the row's norm as well.
    """
    if head.bias is None:
        raise ValueError('the file holds biases, this head has none; set bias=True')
    if head.normalize:
        biases = biases / weights.norm(dim=-1)
    return (1 + head.lam) * biases.sum(dim=0)


def _pack_linear(state_dict: dict, prefix: str, head: nn.Module) -> None:
    """A linear classifier on average-pooled features: base = mean_k (w . x_k) + b (paper, Figure 1)."""
    if head.normalize or len(head.weight) != 1 or head.num_heads != 1 or head.bias is None:
        raise ValueError(
            'a linear classifier becomes a CSRA head without training when base is that classifier: set '
            "num_heads=1 (temperatures=[99] for the paper's maximum), normalize=False and bias=True"
        )
    state_dict[f'{prefix}weight'] = state_dict.pop(f'{prefix}fc.weight')[None]
    state_dict[f'{prefix}bias'] = state_dict.pop(f'{prefix}fc.bias')

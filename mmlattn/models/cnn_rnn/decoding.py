"""Running a decoder along label paths: given ones, or the ones it would choose itself.

A decoder has ``context(features)``, ``start(context)`` and ``step(tokens, state, context)`` as
:class:`~mmlattn.models.cnn_rnn.joint_decoder.JointDecoder` has.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlattn.models.layers.precision import widen

from .beam_search import DEAD

__all__ = ['FreeRun', 'decode_freely', 'follow_paths', 'path_attention', 'path_log_probs']


class FreeRun(NamedTuple):
    """What a decoder said when it was fed with its own choices.

    ============  =============  ======================================================================
    field         shape          meaning
    ============  =============  ======================================================================
    ``logits``    (B, T, C + 1)  raw scores of each step, at least float32, nothing masked
    ``emitted``   (B, T) long    the label chosen at each step; END is never chosen
    ``before``    (B, T, C)      bool, the labels chosen before each step
    ============  =============  ======================================================================
    """

    logits: Tensor
    emitted: Tensor
    before: Tensor


def follow_paths(decoder: nn.Module, tokens: Tensor, context) -> Tensor:
    """Raw scores of every step along given paths, as in training.

    Args:
        decoder (nn.Module): See above.
        tokens (Tensor): Shape (B, T) long, inputs of the steps, START first.
        context: Of the decoder.

    Returns:
        Tensor: Shape (B, T, C + 1), at least float32.
    """
    state, logits = decoder.start(context), []
    for token in tokens.split(1, dim=1):
        scores, state = decoder.step(token, state, context)
        logits.append(scores)
    return widen(torch.cat(logits, dim=1))


def path_log_probs(logits: Tensor, before: Tensor) -> Tensor:
    """Log-probabilities of what comes next, given that no label comes twice.

    Args:
        logits (Tensor): Shape (B, T, C + 1), END last.
        before (Tensor): Shape (B, T, C) bool, labels that came before each step.

    Returns:
        Tensor: Shape (B, T, C + 1), at least float32.
    """
    masked = nn.functional.pad(before, (0, 1))
    return widen(logits).masked_fill(masked, DEAD).log_softmax(dim=-1)


def decode_freely(decoder: nn.Module, start: Tensor, context, num_steps: int, unique: bool) -> FreeRun:
    """Feed a decoder with the best label of its last step, END excluded, for a fixed number of steps.

    Args:
        decoder (nn.Module): See above.
        start (Tensor): Shape (B, 1) long, START.
        context: Of the decoder.
        num_steps (int): T.
        unique (bool): Whether a label is chosen once only.

    Returns:
        FreeRun: With gradients in ``logits``.
    """
    state, token, logits, emitted, taken = decoder.start(context), start, [], [], []
    before = None
    for _ in range(num_steps):
        scores, state = decoder.step(token, state, context)
        scores = widen(scores)
        choice = scores[..., :-1].detach()
        before = torch.zeros_like(choice, dtype=torch.bool) if before is None else before
        token = (choice.masked_fill(before, DEAD) if unique else choice).argmax(dim=-1)
        logits.append(scores)
        emitted.append(token)
        taken.append(before)
        before = before | (token[..., None] == torch.arange(choice.shape[-1], device=token.device))
    return FreeRun(torch.cat(logits, dim=1), torch.cat(emitted, dim=1), torch.cat(taken, dim=1))


def path_attention(decoder: nn.Module, tokens: Tensor, context) -> Tensor:
    """Where an attention decoder looks before it emits each label of given paths.

    Args:
        decoder (nn.Module): With ``attend``.
        tokens (Tensor): Shape (B, T) long, inputs of the steps.
        context: Of the decoder.

    Returns:
        Tensor: Shape (B, T, N), each row sums to 1 over the N locations.
    """
    state, weights = decoder.start(context), []
    for token in tokens.split(1, dim=1):
        weights.append(decoder.attend(state[0], context))
        _, state = decoder.step(token, state, context)
    return widen(torch.cat(weights, dim=1))

"""Losses over the known labels alone.

B is the number of pictures, C of classes. ``scores`` z (B, C) are logits; a ``target`` y (B, C) is 1 for a present
class, 0 for an absent one, in between for a soft label, and anything below 0 (we write -1) for one that is unknown.
An unknown label adds 0 to a loss and its score gets a gradient of exactly 0, whatever the score is.
"""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import NamedTuple

import torch
from torch import Tensor

from mmlattn.models.layers.precision import widen
from mmlattn.utils.errors import UserError

REDUCTIONS = ('mean', 'sum', 'none')


class Known(NamedTuple):
    """Scores and targets (B, C), both 0 where the label is unknown, and which are known, (B, C) bool."""

    scores: Tensor
    target: Tensor
    mask: Tensor


def split_unknown(scores: Tensor, target: Tensor) -> Known:
    """Put both to 0 where the label is unknown, so that what is computed there is finite and leads nowhere."""
    mask = target >= 0
    return Known(torch.where(mask, scores, 0), torch.where(mask, target, 0), mask)


def reduce_known(
    losses: Tensor,
    mask: Tensor,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Sum or average losses (B, C) over the labels in ``mask`` (B, C) bool, in float32 at least.

    'mean' divides the sum by ``avg_factor``, where heads of mmpretrain give the number of pictures: the loss is then
    summed over the known classes and averaged over the pictures. Without ``avg_factor`` it is the mean over the known
    labels, 0 where none is known; with all labels known both are mmpretrain's.

    Several processes each divide by their own factor, and the gradients are averaged: as exact as in mmpretrain with
    the number of pictures, a mean of means with the number of known labels.

    Args:
        losses (Tensor): Shape (B, C).
        mask (Tensor): Shape (B, C), bool.
        reduction (str): 'mean', 'sum', or 'none', which gives 0 where the label is unknown.
        avg_factor (float | Tensor, optional): Of 'mean' alone.
        weight (Tensor, optional): Of each picture, (B,), or each label, (B, C). What is divided by stays.
    """
    if reduction not in REDUCTIONS:
        raise UserError(f'reduction must be one of {", ".join(REDUCTIONS)}, got {reduction!r}')
    if avg_factor is not None and reduction == 'sum':
        raise UserError("avg_factor belongs to reduction='mean', got reduction='sum': leave one of them out")
    losses = widen(losses)
    if weight is not None:
        if weight.shape not in (losses.shape, losses.shape[:1]):
            raise UserError(
                f'weight must be of shape {tuple(losses.shape[:1])} or {tuple(losses.shape)}, got '
                f'{tuple(weight.shape)}'
            )
        losses = losses * (weight if weight.shape == losses.shape else weight[:, None])
    losses = torch.where(mask, losses, 0)
    if reduction == 'none':
        return losses
    if reduction == 'mean' and avg_factor is None:
        avg_factor = mask.sum().clamp(min=1)
    return losses.sum() if reduction == 'sum' else losses.sum() / avg_factor


def loss_of_known(
    loss: Callable[..., Tensor], scores: Tensor, target: Tensor, avg_factor: float, **kwargs
) -> Tensor:
    """A loss of mmpretrain's kind over the known labels, ``avg_factor`` and the rest being its arguments.

    One with ``takes_unknown`` is given the target as it is. Any other one is called as ever where all labels are
    known; else without its reduction, and what it says of unknown labels is left out.

    Raises:
        UserError: If labels are unknown to a loss that does not judge each class by itself.
    """
    if getattr(loss, 'takes_unknown', False) or not (target < 0).any():
        return loss(scores, target, avg_factor=avg_factor, **kwargs)
    known, name = split_unknown(scores, target), type(loss).__name__
    advice = (
        f'{name} does not judge each class by itself, so it can not leave unknown labels out: take '
        "mmlattn.MaskedBCELoss or another one of docs/partial_labels.md, or unknown='negative' in the head"
    )
    if not _takes(loss, 'reduction_override'):
        raise UserError(advice)
    losses = loss(known.scores, known.target, reduction_override='none', **kwargs)
    if losses.shape != target.shape:
        raise UserError(advice)
    reduction = getattr(loss, 'reduction', 'mean')
    return reduce_known(losses, known.mask, reduction, avg_factor if reduction == 'mean' else None)


def _takes(loss: Callable, argument: str) -> bool:
    parameters = signature(getattr(loss, 'forward', loss)).parameters
    return argument in parameters or any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())

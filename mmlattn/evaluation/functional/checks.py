"""What scores, targets and options must be before anything is counted."""

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import torch

from mmlattn.utils.errors import UserError

__all__ = ['as_array', 'check_scores', 'check_targets', 'check_threshold', 'check_topk']


def as_array(values) -> np.ndarray:
    """Values of any array-like or tensor as a contiguous array, without its gradient.

    Half precision becomes float32: numpy has no bfloat16, and no fast float16.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return np.ascontiguousarray(values)


def check_targets(targets) -> np.ndarray:
    """Targets as int8.

    Raises:
        UserError: If a target is none of 1, 0 and -1.
    """
    targets = as_array(targets)
    with np.errstate(invalid='ignore'):
        whole = targets.astype(np.int8)
    wrong = (whole != targets) | (whole < -1) | (whole > 1)
    if wrong.any():
        raise UserError(
            f'targets must be 1 (present), 0 (absent) or -1 (ignored), got {np.unique(targets[wrong])[:5]}'
        )
    return whole


def check_scores(scores, targets) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets as arrays, targets as int8.

    Raises:
        UserError: If they are empty, not both (N, C), a target is none of 1, 0 and -1, or the scores hold NaN
            or infinity.
    """
    scores, targets = as_array(scores), check_targets(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise UserError(
            f'scores and targets must both be (N, C) with N and C of at least 1, got {scores.shape} and '
            f'{targets.shape}'
        )
    if not np.isfinite(scores).all():
        rows = int((~np.isfinite(scores)).any(axis=1).sum())
        raise UserError(
            f'the scores of {rows} of {len(scores)} images hold NaN or infinity, so nothing can be ranked: '
            'the model has diverged, try a smaller learning rate or fp32'
        )
    return scores, targets


def check_threshold(threshold: float) -> None:
    """See that a threshold is a number.

    Raises:
        UserError: If it is not.
    """
    if not isinstance(threshold, Real) or math.isnan(threshold):
        raise UserError(f'threshold must be a number, got {threshold!r}')


def check_topk(topk: Sequence[int], name: str = 'topk') -> None:
    """See that every k is a whole number of at least 1.

    Raises:
        UserError: If one is not, or ``topk`` is a number itself; it says ``name``.
    """
    if not isinstance(topk, Sequence) or not all(
        isinstance(k, Integral) and not isinstance(k, bool) and k >= 1 for k in topk
    ):
        raise UserError(f'{name} must be a list of whole numbers of at least 1, such as (1, 3), got {topk!r}')

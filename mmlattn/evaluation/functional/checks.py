"""What scores, targets and options must be before anything is counted."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np

from mmlattn.utils.arguments import check_number
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError


def check_targets(targets) -> np.ndarray:
    """Targets as int8; raises ``UserError`` for one that is none of 1, 0 and -1."""
    targets = as_array(targets)
    with np.errstate(invalid='ignore'):
        whole = targets.astype(np.int8)
    wrong = (whole != targets) | (whole < -1) | (whole > 1)
    if wrong.any():
        raise UserError(
            f'targets must be 1 (present), 0 (absent) or -1 (ignored), got {np.unique(targets[wrong])[:5]}'
        )
    return whole


def check_scores(scores, targets, name: str = 'scores') -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, targets as int8; raises ``UserError`` unless they are (N, C) and the scores finite."""
    scores, targets = as_array(scores), check_targets(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise UserError(
            f'{name} and targets must both be (N, C) with N and C of at least 1, got {scores.shape} and '
            f'{targets.shape}'
        )
    if not np.isfinite(scores).all():
        rows = int((~np.isfinite(scores)).any(axis=1).sum())
        raise UserError(
            f'the scores of {rows} of {len(scores)} images hold NaN or infinity, so nothing can be ranked: '
            'the model has diverged, try a smaller learning rate or fp32'
        )
    return scores, targets


def check_threshold(threshold, num_classes: int) -> None:
    """Raises ``UserError`` for anything but a finite number, or one number that is not NaN for each class."""
    if not np.ndim(threshold):
        check_number('threshold', threshold)
    elif np.shape(threshold) != (num_classes,) or np.isnan(np.asarray(threshold, dtype=float)).any():
        raise UserError(
            f'threshold must be one number, or one for each of {num_classes} classes, got {threshold!r:.80}'
        )


def check_results(results: Sequence) -> None:
    """Raises ``UserError`` if a metric has nothing to evaluate."""
    if not results:
        raise UserError('there is nothing to evaluate: the data set of this evaluator is empty')


def check_topk(topk: Sequence[int], name: str = 'topk') -> None:
    """Raises ``UserError`` for anything but a sequence of whole numbers of at least 1."""
    whole = isinstance(topk, Sequence) and all(
        isinstance(k, Integral) and not isinstance(k, bool) for k in topk
    )
    if not whole or any(k < 1 for k in topk):
        raise UserError(f'{name} must be a list of whole numbers of at least 1, such as (1, 3), got {topk!r}')

"""Thresholds that do best on given scores: exact, from one sort of each class.

``scores`` is (N, C), ``targets`` (N, C) with 1 present, 0 absent and -1 unknown, as in ``multi_label.py``; an unknown
label counts neither for nor against. A class is predicted where its score is at least its threshold. A NaN is never
predicted, and where it is a positive it is one that is missed.

A cut after the k best scores of a class leaves k predictions. Of equal scores all are predicted or none, so a cut
lies between two different scores, and so does its threshold. F1 = 2 TP / (predicted + positives) changes at the at
most N cuts only, so to look at each of them is exact.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .checks import check_targets

NEVER = np.inf


class Sweep(NamedTuple):
    """All cuts of all classes: row k is the cut after the k + 1 best scores.

    ``scores`` (N, C) from the best to the worst, -inf where there is none left; ``hits`` and ``predicted`` (N, C)
    int64; ``positives`` (C,); ``cuts`` (N, C) bool, where a threshold can lie.
    """

    scores: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    cuts: np.ndarray

    def precision(self) -> np.ndarray:
        """Precision at each cut, (N, C)."""
        return self.hits / np.maximum(self.predicted, 1)

    def recall(self) -> np.ndarray:
        """Recall at each cut, (N, C); NaN for a class without a positive."""
        with np.errstate(invalid='ignore'):
            return self.hits / self.positives

    def f1(self) -> np.ndarray:
        """F1 at each cut, (N, C)."""
        return 2 * self.hits / np.maximum(self.predicted + self.positives, 1)


def sweep(scores, targets) -> Sweep:
    """Sort every class once and count.

    Raises:
        UserError: If scores and targets are not of the same pictures and classes.
    """
    scores, targets = as_array(scores), check_targets(targets)
    if scores.ndim != 2 or scores.shape != targets.shape or not scores.size:
        raise UserError(
            f'scores and targets must both be (N, C) with N and C of at least 1, got {scores.shape} and '
            f'{targets.shape}'
        )
    keys = np.where((targets >= 0) & ~np.isnan(scores), scores, -np.inf)
    order = np.argsort(-keys, axis=0, kind='stable')
    ranked = np.take_along_axis(keys, order, axis=0)
    there = ranked > -np.inf
    hits = np.cumsum((np.take_along_axis(targets, order, axis=0) == 1) & there, axis=0)
    after = np.vstack([ranked[1:], np.full((1, ranked.shape[1]), -np.inf, ranked.dtype)])
    return Sweep(ranked, hits, np.cumsum(there, axis=0), (targets == 1).sum(axis=0), there & (ranked > after))


def best_f1(swept: Sweep) -> np.ndarray:
    """The threshold (C,) with the best F1 of each class; of equals the highest. NaN without a positive."""
    return _thresholds(swept, np.where(swept.cuts, swept.f1(), -1), swept.positives > 0)


def reach_precision(swept: Sweep, least: float) -> np.ndarray:
    """The threshold (C,) with the most recall among those with a precision of at least ``least``.

    :data:`NEVER` for a class that reaches it nowhere, and NaN for one without a positive. Of equals the highest.
    """
    reached = swept.cuts & (swept.precision() >= least) & (swept.hits > 0)
    found = _thresholds(swept, np.where(reached, swept.hits, -1), swept.positives > 0)
    return np.where((swept.positives > 0) & ~reached.any(axis=0), NEVER, found)


def reach_recall(swept: Sweep, least: float) -> np.ndarray:
    """The threshold (C,) with the best precision among those with a recall of at least ``least``.

    As for :func:`reach_precision`; a class misses a recall only by NaN in its scores, and is then given all others.
    """
    reached = swept.cuts & (np.nan_to_num(swept.recall()) >= least)
    last = np.where(swept.cuts, swept.predicted / (len(swept.scores) + 1), -2)
    worth = np.where(reached.any(axis=0), np.where(reached, swept.precision(), -2), last)
    return _thresholds(swept, worth, (swept.positives > 0) & swept.cuts.any(axis=0))


def best_common_f1(swept: Sweep) -> float:
    """The one threshold for all classes with the best CF1 of ``multi_label.py``, exactly; of equals the highest.

    CF1 is the harmonic mean of CP and CR, the means of precision and recall over the classes with a positive. With
    each cut of a class one precision and one recall change, so that both means are running sums over all cuts.

    Raises:
        UserError: If no class has a positive.
    """
    present = swept.positives > 0
    if not present.any():
        raise UserError('no class has a positive picture, so no threshold can be chosen')
    ranked, cuts = swept.scores[:, present].T, swept.cuts[:, present].T
    scores = ranked[cuts]
    starts = np.flatnonzero(np.diff(np.repeat(np.arange(len(cuts)), cuts.sum(axis=1)), prepend=-1))
    gains = []
    for rates in (swept.precision(), swept.recall()):
        values = rates[:, present].T[cuts]
        change = np.diff(values, prepend=0)
        change[starts] = values[starts]
        gains.append(change / present.sum())
    order = np.argsort(-scores, kind='stable')
    scores = scores[order]
    cp, cr = (np.cumsum(gain[order]) for gain in gains)
    last = np.append(scores[1:] < scores[:-1], True)
    with np.errstate(invalid='ignore'):
        cf1 = np.where(last, np.nan_to_num(2 * cp * cr / (cp + cr)), -1)
    # Sums in another order differ in their last digits.
    best = int(np.flatnonzero(cf1 >= cf1.max() - 1e-12)[0])
    return float(_between(scores[best], scores[best + 1] if best + 1 < len(scores) else -np.inf))


def pooled(scores, targets) -> tuple[np.ndarray, np.ndarray]:
    """All classes as if they were one, (N C, 1) each, for a threshold that all of them share."""
    return as_array(scores).reshape(-1, 1), as_array(targets).reshape(-1, 1)


def shrink(thresholds: np.ndarray, common: float, positives: np.ndarray, strength: float) -> np.ndarray:
    """Thresholds (C,) pulled to a common one: on logits, to w t_c + (1 - w) t with w = n_c / (n_c + strength).

    n_c are the positives of a class. Classes without a threshold of their own (NaN) get the common one.
    """
    weight = positives / (positives + strength) if strength else np.ones(len(positives))
    near = np.clip(np.append(thresholds, common), 1e-12, 1 - 1e-7)
    mixed = expit(weight * logit(near[:-1]) + (1 - weight) * logit(near[-1]))
    kept = thresholds if strength == 0 else mixed
    return np.where(np.isnan(thresholds), common, np.where(np.isinf(thresholds), thresholds, kept))


def _thresholds(swept: Sweep, worth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The threshold of the first of the cuts of most worth (N, C), for the classes ``known``; NaN for the others."""
    best, classes = worth.argmax(axis=0), np.arange(worth.shape[1])
    rows = np.vstack([swept.scores, np.full((1, worth.shape[1]), -np.inf, swept.scores.dtype)])
    found = _between(rows[best, classes], rows[best + 1, classes])
    found = np.where(swept.cuts.any(axis=0), found, NEVER)
    return np.where(known, found, np.nan).astype(np.float64)


def _between(upper, lower):
    """Halfway between two scores, or between one and 0 where nothing is lower, above the lower one in any case."""
    upper, lower = np.asarray(upper), np.asarray(lower)
    floor = np.where(np.isinf(lower), np.minimum(upper, 0), lower)
    middle = ((upper.astype(np.float64) + floor) / 2).astype(upper.dtype)
    return np.where((middle > floor) & (middle <= upper), middle, upper)

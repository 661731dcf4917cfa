"""How far a number may be off, from pictures drawn again with replacement (Efron, Annals of Statistics 7, 1979).

A draw of the N pictures is how often each is in it: ``weights`` (R, N) float32 of R draws. Whatever is compared is
compared on the same draws, so that what makes a draw easy for one makes it easy for the other too.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .checks import check_scores
from .multi_label import precision_recall_f1


def draw_pictures(size: int, rounds: int, seed: int) -> np.ndarray:
    """Draws of ``size`` pictures with replacement: (rounds, size) float32 counts."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(size, np.full(size, 1 / size), rounds).astype(np.float32)


def bootstrap_rates(
    decisions: Sequence[np.ndarray],
    targets: np.ndarray,
    weights: np.ndarray,
    rate: Callable[[Mapping], float],
) -> np.ndarray:
    """A rate of each of the decisions (N, C) bool on each draw: (R, D)."""
    known, positive = targets >= 0, targets == 1
    positives = weights @ positive.astype(np.float32)
    values = []
    for decided in decisions:
        hits, predicted = (weights @ m.astype(np.float32) for m in (decided & positive, decided & known))
        rounds = zip(hits, predicted, positives, strict=True)
        values.append([rate(precision_recall_f1(counts)) for counts in rounds])
    return np.array(values).T


def bootstrap_mean_ap(scores, targets, weights: np.ndarray) -> np.ndarray:
    """MAP on each draw, (R,): the mean over the classes that have a positive in it; NaN where none has.

    It is ``average_precision(..., tied_scores='together')`` of ``multi_label.py`` on the pictures of each draw.
    """
    scores, targets = check_scores(scores, targets)
    pairs = zip(scores.T, targets.T, strict=True)
    return _mean_over_classes([_weighted_ap(*pair, weights) for pair in pairs])


def _mean_over_classes(values: Sequence[np.ndarray]) -> np.ndarray:
    table = np.array(values)
    there = ~np.isnan(table)
    with np.errstate(invalid='ignore'):
        return np.where(there, table, 0).sum(axis=0) / there.sum(axis=0)


def _weighted_ap(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of one class, (R,); NaN where a draw has no positive of it."""
    known = np.flatnonzero(targets >= 0)
    order = known[np.argsort(-scores[known], kind='stable')]
    ranked, positive = scores[order], targets[order] == 1
    drawn = weights[:, order]
    # Pictures of equal score enter the curve at once: each is counted where the last of them stands.
    last = len(ranked) - 1 - np.searchsorted(ranked[::-1], ranked[positive])
    above = np.cumsum(drawn, axis=1, dtype=np.float64)[:, last]
    hits_above = np.cumsum(drawn * positive, axis=1, dtype=np.float64)[:, last]
    hits = drawn[:, positive]
    with np.errstate(invalid='ignore'):
        precision = np.where(above > 0, hits_above / above, 0)
        return (hits * precision).sum(axis=1) / hits.sum(axis=1)

"""What a label that is known to be there says of the others, by counting: what a model of label sets must beat.

N pictures, C labels. Everywhere ``known`` (N,) is the index of the label that is known of each picture, -1 for none.
"""

import numpy as np

from mmlattn.utils.errors import UserError


def draw_known(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of the labels that are there (1) of each picture (N, C), at random: (N,), -1 where there is none.

    Batch by batch the labels are the same as of all pictures at once.
    """
    drawn = np.where(targets == 1, rng.random(targets.shape), -1.0)
    return np.where((targets == 1).any(axis=1), drawn.argmax(axis=1), -1)


def without_known(targets: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The targets with -1, for ignored, at the labels that are known."""
    rest, told = targets.copy(), known >= 0
    rest[np.flatnonzero(told), known[told]] = -1
    return rest


def odds_ratios(sets: np.ndarray, smoothing: float = 0.5) -> np.ndarray:
    """n11 n00 / (n10 n01) of each pair of labels in sets (M, C) bool: (C, C), with ``smoothing`` added to each count.

    1: the labels come together as often as if they did not know of each other.
    """
    sets = np.asarray(sets, dtype=float)
    both = sets.T @ sets
    alone = np.diag(both)[:, None] - both
    neither = len(sets) - both - alone - alone.T
    return (both + smoothing) * (neither + smoothing) / ((alone + smoothing) * (alone.T + smoothing))


def given_known(scores: np.ndarray, known: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """P(c | picture, known label k) from the probabilities P(c | picture) (N, C) of a model that takes labels alone.

    The model's probabilities of c and of k are the margins of a 2 x 2 table whose odds ratio psi is that of the
    training labels; there is one such table, with P(c and k) in closed form (Plackett, "A class of bivariate
    distributions", JASA 1965):

        P(c and k) = (S - sqrt(S^2 - 4 psi (psi - 1) P(c) P(k))) / (2 (psi - 1)),  S = 1 + (psi - 1) (P(c) + P(k))

    So a label that the model was sure of tells nothing new, and labels that are independent (psi = 1) tell nothing.

    Args:
        scores (ndarray): (N, C) in [0, 1].
        known (ndarray): (N,).
        ratios (ndarray): psi, (C, C) above 0, see :func:`odds_ratios`.

    Returns:
        ndarray: (N, C), 1 for the label that is known.

    Raises:
        UserError: For scores that are no probabilities.
    """
    scores = np.asarray(scores, dtype=float)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise UserError(
            'counting changes probabilities: the scores must lie in [0, 1], as a sigmoid gives them'
        )
    rows = np.flatnonzero(known >= 0)
    k = known[rows]
    tiny = np.finfo(float).tiny
    p_k = scores[rows, k].clip(min=1e-9)[:, None]
    p_c, psi = scores[rows], ratios[k]
    total = 1 + (psi - 1) * (p_c + p_k)
    root = np.sqrt((total**2 - 4 * psi * (psi - 1) * p_c * p_k).clip(min=0))
    # The other form of the same root of the quadratic equation, which needs no psi - 1 below the line.
    together = 2 * psi * p_c * p_k / (total + root).clip(min=tiny)
    found = scores.copy()
    found[rows] = (together / p_k).clip(0, 1)
    found[rows, k] = 1
    return found

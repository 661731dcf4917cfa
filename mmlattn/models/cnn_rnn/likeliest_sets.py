"""From scores of labels to the likeliest set that keeps to what is known, where there is no path to search.

Taken as independent, a set S of labels has the odds prod_{c in S} p_c / (1 - p_c), against those of the threshold.
The best S under linear conditions is a small integer program, which scipy solves exactly. C is the number of labels.
"""

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from .constraints import LabelConstraints

# Of scores of 0 and 1, whose odds are not finite; and so that a label that just reaches the threshold is taken.
_SMALLEST, _TIE = 1e-7, 1e-9


def likeliest_set(
    scores: Tensor, thr: float, least: int, most: int, known: LabelConstraints | None
) -> Tensor | None:
    """The likeliest set of labels of one picture.

    Without conditions these are the labels whose score reaches ``thr``.

    Args:
        scores (Tensor): Shape (C,), in [0, 1].
        thr (float): Score from which on a label is rather there than not.
        least (int): Fewest labels.
        most (int): Most labels.
        known (LabelConstraints, optional): Of this picture alone, B = 1.

    Returns:
        Tensor | None: Which labels, (C,) bool; None if no set keeps to the conditions.
    """
    num_classes = len(scores)
    odds = _log_odds(scores.double().cpu().numpy()) - _log_odds(np.array(thr)) + _TIE
    bounds, rows = np.stack([np.zeros(num_classes), np.ones(num_classes)]), [np.ones(num_classes)]
    lower, upper = [least], [most]
    if known is not None:
        bounds[0][known.present[0].cpu().numpy()] = 1
        bounds[1][known.absent[0].cpu().numpy()] = 0
        if known.count is not None and known.count[0] >= 0:
            lower, upper = [int(known.count[0])], [int(known.count[0])]
        pairs, needs = _edges(known.exclusive.triu(1)), _edges(known.parents)
        rows += [_row(num_classes, {a: 1, b: 1}) for a, b in pairs]
        rows += [_row(num_classes, {child: 1, parent: -1}) for child, parent in needs]
        lower += [-np.inf] * (len(pairs) + len(needs))
        upper += [1] * len(pairs) + [0] * len(needs)
        if (bounds[0] > bounds[1]).any():
            return None
    found = milp(
        -odds,
        integrality=np.ones(num_classes),
        bounds=Bounds(*bounds),
        constraints=LinearConstraint(np.stack(rows), lower, upper),
    )
    return None if found.x is None else torch.from_numpy(found.x > 0.5).to(scores.device)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.log(inside) - np.log1p(-inside)


def _edges(relation: Tensor) -> list[tuple[int, int]]:
    """The pairs of a relation (C, C), the diagonal left out."""
    return [(a, b) for a, b in relation.nonzero().tolist() if a != b]


def _row(length: int, entries: dict[int, float]) -> np.ndarray:
    row = np.zeros(length)
    row[list(entries)] = list(entries.values())
    return row

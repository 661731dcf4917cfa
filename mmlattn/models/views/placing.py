"""What a view of a picture saw, back in the frame of the picture.

A view is a window of the picture, which may then be mirrored and of any scale. Places are fractions: a window is
(x1, y1, x2, y2) of the picture, a box the same of its view. A map has a number for each cell of its view, and a sum
that stays the same wherever it is placed, as that of attention.
"""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

WHOLE = (0.0, 0.0, 1.0, 1.0)
#: The axes, from behind, along which a view was mirrored.
FLIPS = {None: (), 'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}
Window = Sequence[float]


def place_boxes(boxes: Tensor, window: Window = WHOLE, flip: str | None = None) -> Tensor:
    """Boxes (..., 4) of a view as fractions of the picture."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    if -1 in FLIPS[flip]:
        x1, x2 = 1 - x2, 1 - x1
    if -2 in FLIPS[flip]:
        y1, y2 = 1 - y2, 1 - y1
    left, top, right, bottom = window
    x1, x2 = (left + x * (right - left) for x in (x1, x2))
    y1, y2 = (top + y * (bottom - top) for y in (y1, y2))
    return torch.stack((x1, y1, x2, y2), dim=-1)


def common_cells(sizes: Sequence[tuple[int, int]], windows: Sequence[Window]) -> tuple[int, int]:
    """Cells (H, W) of a picture that are nowhere larger than those of the views' maps, (h, w) each.

    A cell more than needed for a rest of rounding is not taken.
    """
    rows = max(
        ceil(h / (bottom - top) - 1e-6) for (h, _), (_, top, _, bottom) in zip(sizes, windows, strict=True)
    )
    columns = max(
        ceil(w / (right - left) - 1e-6) for (_, w), (left, _, right, _) in zip(sizes, windows, strict=True)
    )
    return rows, columns


def place_maps(
    maps: Tensor, cells: tuple[int, int], window: Window = WHOLE, flip: str | None = None
) -> Tensor:
    """Maps (..., h, w) of a view over the cells (H, W) of the picture: (..., H, W), zero outside of the window.

    Each cell of the view is spread evenly over the part of the picture that it covers.
    """
    left, top, right, bottom = window
    rows = overlap_shares(maps.shape[-2], top, bottom, cells[0]).to(maps)
    columns = overlap_shares(maps.shape[-1], left, right, cells[1]).to(maps)
    return rows @ maps.flip(FLIPS[flip]) @ columns.T


def average_maps(maps: Tensor, weights: Tensor) -> Tensor:
    """Placed maps (V, ..., C, H, W) of V views as one, by the views' parts in the scores of classes, (V, ..., C).

    A view without a map of a class, which a decoder did not emit there, has no part in it.
    """
    weights = weights * maps.flatten(-2).any(dim=-1)
    weights = weights / weights.sum(dim=0).where(weights.any(dim=0), 1.0)
    return (weights[..., None, None] * maps).sum(dim=0)


def overlap_shares(cells: int, start: float, stop: float, out: int) -> Tensor:
    """How much of each of ``cells`` equal parts of [start, stop] lies in each of ``out`` equal parts of [0, 1].

    Returns:
        Tensor: (out, cells), float64; each column sums to 1 where [start, stop] lies in [0, 1].
    """
    edges = start + (stop - start) * torch.arange(cells + 1, dtype=torch.float64) / cells
    goals = torch.arange(out + 1, dtype=torch.float64) / out
    upper = torch.minimum(goals[1:, None], edges[None, 1:])
    lower = torch.maximum(goals[:-1, None], edges[None, :-1])
    return (upper - lower).clamp(min=0) / (edges[1:] - edges[:-1])

"""Squares that say where to zoom in, after Fu, Zheng and Mei, "Look Closer to See Better: Recurrent Attention
Convolutional Neural Network for Fine-grained Image Recognition", CVPR 2017.

A square is (a, b, l) on the last axis: its centre and HALF its side, as fractions of width, height and side of the
frame that it lies in, x to the right and y down. The paper's t_x, t_y, t_l are a, b and l times the frame's width. On
a frame that is not square it has the frame's shape. (1/2, 1/2, 1/2) is the whole frame.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.precision import widen
from mmlattn.models.layers.spatial_transformer import boxes_to_theta

__all__ = [
    'SQUARE_BORDERS', 'highest_response_square', 'outside_share', 'place_squares', 'squares_to_boxes',
    'squares_to_theta',
]  # fmt: skip


def place_squares(raw: Tensor, border: str = 'bounded', least: float = 1 / 6, most: float = 0.5) -> Tensor:
    """Squares from three numbers of any size, s = sigmoid(raw), by one of three rules.

    ===========  ===========================================================  =====================================
    ``border``   square                                                       source
    ===========  ===========================================================  =====================================
    'bounded'    l = least + s_l (most - least), a = l + s_x (1 - 2 l), b      ours: always inside, always a
                 alike                                                        square, and no gradient is ever zero
    'clip'       a = s_x, b = s_y, l = s_l, at least ``least``; what sticks    the authors' released code, where
                 out of the frame is cut off when it is read                   ``least`` is 0.01
    'shift'      l = s_l between ``least`` and ``most``, a and b between l     later PyTorch ports, where ``least``
                 and 1 - l                                                    is 1/3
    ===========  ===========================================================  =====================================

    A limit that is reached passes the gradient on as if it were not there, so that a square can come back from it.

    Args:
        raw (Tensor): Shape (..., 3).
        border (str): The rule.
        least (float): Of l; the paper asks for a third of the parent's side, 1/6.
        most (float): Of l, for 'bounded' and 'shift'.

    Returns:
        Tensor: Shape (..., 3), float32 at least, so that no autocast moves the centre.
    """
    place = _PLACES[border]
    centre, half = widen(raw).sigmoid().split((2, 1), dim=-1)
    return torch.cat(place(centre, half, least, most), dim=-1)


def _bounded(centre: Tensor, half: Tensor, least: float, most: float) -> tuple[Tensor, Tensor]:
    half = least + half * (most - least)
    return half + centre * (1 - 2 * half), half


def _clip(centre: Tensor, half: Tensor, least: float, most: float) -> tuple[Tensor, Tensor]:
    return centre, _limit(half, half.clamp(min=least))


def _shift(centre: Tensor, half: Tensor, least: float, most: float) -> tuple[Tensor, Tensor]:
    half = _limit(half, half.clamp(least, most))
    return _limit(centre, torch.maximum(torch.minimum(centre, 1 - half), half)), half


def _limit(free: Tensor, limited: Tensor) -> Tensor:
    """``limited``, with the gradient of ``free``."""
    return limited.detach() + (free - free.detach())


_PLACES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = dict(bounded=_bounded, clip=_clip, shift=_shift)
SQUARE_BORDERS = tuple(_PLACES)
"""Names of the rules."""


def squares_to_boxes(squares: Tensor) -> Tensor:
    """Corners a - l, b - l, a + l, b + l.

    Args:
        squares (Tensor): Shape (..., 3).

    Returns:
        Tensor: Shape (..., 4), xyxy as fractions of the frame, not clipped to it.
    """
    centre, half = squares[..., :2], squares[..., 2:]
    return torch.cat((centre - half, centre + half), dim=-1)


def squares_to_theta(squares: Tensor) -> Tensor:
    """The parts of squares that lie in the frame, as regions of ``spatial_transformer``.

    Inside the frame theta is (2 l, 2 l, 2 a - 1, 2 b - 1). What is cut at the border need not be square.

    Args:
        squares (Tensor): Shape (..., 3), with some part in the frame.

    Returns:
        Tensor: Shape (..., 4).
    """
    return boxes_to_theta(squares_to_boxes(squares).clamp(0, 1))


def outside_share(squares: Tensor) -> Tensor:
    """Share of each square's area that lies outside the frame: shape (..., 3) to (...), in [0, 1]."""
    low, high = squares_to_boxes(squares).clamp(0, 1).split(2, dim=-1)
    return (1 - (high - low).prod(dim=-1) / (2 * squares[..., 2]).square()).clamp(min=0)


def highest_response_square(feature_map: Tensor, side: float = 0.5) -> Tensor:
    """The square whose cells respond most: what attention proposals learn first.

    The paper takes, for the start, a square of half the picture's side at the region with the highest response in
    the last convolution. Here the response of a cell is the sum of its positive activations, that of a region the
    mean over its cells, and every place where the region fits is tried; the first of equals wins.

    Args:
        feature_map (Tensor): Shape (B, D, h, w).
        side (float): Of the square, as a fraction of the frame's, in (0, 1]. The region is rounded up to whole cells.

    Returns:
        Tensor: Shape (B, 3), inside the frame, without a gradient.
    """
    height, width = feature_map.shape[-2:]
    rows, columns = (
        math.ceil(round(side * int(cells), 6)) for cells in (height, width)
    )  # traced sizes are tensors
    response = feature_map.detach().float().relu().sum(dim=1, keepdim=True)
    regions = F.avg_pool2d(response, (rows, columns), stride=1)
    best = regions.flatten(1).argmax(dim=1)
    row = torch.div(best, width - columns + 1, rounding_mode='floor')
    column = best - row * (width - columns + 1)
    centre = (column + columns / 2) / width, (row + rows / 2) / height
    return torch.stack((*centre, torch.full_like(centre[0], side / 2)), dim=-1)

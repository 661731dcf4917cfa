"""Attention squares: where the next scale of RA-CNN looks (Fu, Zheng and Mei, CVPR 2017).

A square is (a, b, l) on the last axis of a tensor: its centre and HALF its side, as fractions of the width, height
and side of the picture it lies in, x to the right and y down. The paper's t_x, t_y, t_l are a, b and l times the
width. In a picture that is not square it has the picture's shape. (1/2, 1/2, 1/2) is the whole picture.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.precision import widen
from mmlattn.models.layers.spatial_transformer import boxes_to_theta

SQUARE_BORDERS = ('bounded', 'clip', 'shift')


def place_squares(raw: Tensor, border: str = 'bounded', least: float = 1 / 6) -> Tensor:
    """Squares from three numbers of any size, s = sigmoid(raw), by one of three rules.

    ===========  ===========================================================  =====================================
    ``border``   square                                                       source
    ===========  ===========================================================  =====================================
    'bounded'    l = least + s_l (1/2 - least), a = l + s_x (1 - 2 l), b      ours: always inside, always a
                 alike                                                        square, and no gradient is ever zero
    'clip'       a = s_x, b = s_y, l = s_l, at least ``least``; what sticks    the authors' released code, where
                 out of the picture is cut off when it is read                ``least`` is 0.01
    'shift'      l = s_l between ``least`` and 1/2, a and b between l and      later PyTorch ports, where ``least``
                 1 - l                                                        is 1/3, and l above 1/2 reads the
                                                                              whole picture, as 1/2 does
    ===========  ===========================================================  =====================================

    A limit that is reached passes the gradient on as if it were not there, so that a square can come back from it.

    Args:
        raw (Tensor): Shape (..., 3).
        border (str): The rule.
        least (float): Smallest l; the paper asks for a third of the parent's side, 1/6.

    Returns:
        Tensor: Shape (..., 3), at least float32, so that autocast does not move the centre.
    """
    centre, half = widen(raw).sigmoid().split((2, 1), dim=-1)
    if border == 'bounded':
        half = least + half * (0.5 - least)
        centre = half + centre * (1 - 2 * half)
    elif border == 'clip':
        half = _limit(half, half.clamp(min=least))
    else:
        half = _limit(half, half.clamp(least, 0.5))
        centre = _limit(centre, torch.maximum(torch.minimum(centre, 1 - half), half))
    return torch.cat((centre, half), dim=-1)


def _limit(free: Tensor, limited: Tensor) -> Tensor:
    """``limited``, with the gradient of ``free``."""
    return limited.detach() + (free - free.detach())


def squares_to_boxes(squares: Tensor) -> Tensor:
    """Corners (a - l, b - l, a + l, b + l): shape (..., 3) to (..., 4), xyxy, not clipped to the picture."""
    centre, half = squares[..., :2], squares[..., 2:]
    return torch.cat((centre - half, centre + half), dim=-1)


def squares_to_theta(squares: Tensor) -> Tensor:
    """The part of each square inside the picture, shape (..., 3), as a region (..., 4) of ``spatial_transformer.py``.

    Of a square that lies inside, theta is (2 l, 2 l, 2 a - 1, 2 b - 1). What is cut at the border need not be square.
    """
    return boxes_to_theta(squares_to_boxes(squares).clamp(0, 1))


def outside_share(squares: Tensor) -> Tensor:
    """Share of the area of each square outside the picture: shape (..., 3) to (...), in [0, 1]."""
    low, high = squares_to_boxes(squares).clamp(0, 1).split(2, dim=-1)
    return (1 - (high - low).prod(dim=-1) / (2 * squares[..., 2]).square()).clamp(min=0)


def highest_response_square(feature_map: Tensor, side: float = 0.5) -> Tensor:
    """The square whose cells respond most: what attention proposals learn first.

    The paper starts from a square of half the picture's side at the region with the highest response in the last
    convolution. Here the response of a cell is the sum of its positive activations, that of a region the mean over
    its cells, and every place where the region fits is tried; the first of equals wins.

    Args:
        feature_map (Tensor): Shape (B, D, h, w).
        side (float): Side as a fraction of the picture's, in (0, 1]. The region is rounded up to whole cells.

    Returns:
        Tensor: Shape (B, 3), inside the picture, without a gradient.
    """
    # Traced sizes are tensors, and 0.28 x 25 is a little more than 7.
    height, width = (int(cells) for cells in feature_map.shape[-2:])
    rows, columns = (math.ceil(round(side * cells, 6)) for cells in (height, width))
    response = feature_map.detach().float().relu().sum(dim=1, keepdim=True)
    regions = F.avg_pool2d(response, (rows, columns), stride=1)
    best = regions.flatten(1).argmax(dim=1)
    row = torch.div(best, width - columns + 1, rounding_mode='floor')
    column = best - row * (width - columns + 1)
    a, b = (column + columns / 2) / width, (row + rows / 2) / height
    return torch.stack((a, b, torch.full_like(a, side / 2)), dim=-1)

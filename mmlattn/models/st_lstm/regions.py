"""Where regions are asked to look, and how the numbers that place them are read.

Wang et al., ICCV 2017, draw K - 1 of K regions to points evenly spaced on a circle of radius sqrt(1/2) round the
centre of the picture. That the first region is the free one, and that the circle starts at 45 degrees, is our
reading: four anchors are then the centres of the four quadrants.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    'FIRST_ANCHORS', 'LOC_PARAMS', 'bounded_regions', 'circle_anchors', 'direct_regions', 'region_anchors',
    'residual_anchor_regions', 'unbounded_scale',
]  # fmt: skip

FIRST_ANCHORS = ('none', 'center')
"""What the first region is drawn to."""


def circle_anchors(count: int, radius: float = math.sqrt(0.5), start_angle: float = math.pi / 4) -> Tensor:
    """Points at equal angles on a circle round the centre of the map.

    Four at the default radius and angle are the centres of the four quadrants.

    Args:
        count (int): How many.
        radius (float): In the map's coordinates, -1 to 1.
        start_angle (float): Of the first point, in radians from the x axis towards the y axis, which points down.

    Returns:
        Tensor: Shape (count, 2), (x, y), float32.
    """
    angles = start_angle + 2 * math.pi / max(count, 1) * torch.arange(count, dtype=torch.float64)
    return (radius * torch.stack((angles.cos(), angles.sin()), dim=-1)).float()


def region_anchors(
    num_regions: int,
    radius: float = math.sqrt(0.5),
    start_angle: float = math.pi / 4,
    first: str = 'none',
) -> tuple[Tensor, Tensor]:
    """The anchors of K regions.

    Args:
        num_regions (int): K.
        radius (float): As for :func:`circle_anchors`.
        start_angle (float): As for :func:`circle_anchors`.
        first (str): 'none' leaves the first region without an anchor; 'center' gives it the centre.

    Returns:
        tuple[Tensor, Tensor]: Points (K, 2), (0, 0) for the first, and which regions are drawn to theirs, (K,) bool.
    """
    points = torch.cat((torch.zeros(1, 2), circle_anchors(num_regions - 1, radius, start_angle)))
    mask = torch.ones(num_regions, dtype=torch.bool)
    mask[0] = first == 'center'
    return points, mask


def direct_regions(raw: Tensor, anchor: Tensor, scale_range: tuple[float, float]) -> Tensor:
    """Theta = raw, the paper's."""
    return raw


def residual_anchor_regions(raw: Tensor, anchor: Tensor, scale_range: tuple[float, float]) -> Tensor:
    """T = anchor + dt: regions start at their anchors, and the anchor penalty is |dt|^2 / 2."""
    return torch.cat((raw[..., :2], raw[..., 2:] + anchor), dim=-1)


def bounded_regions(raw: Tensor, anchor: Tensor, scale_range: tuple[float, float]) -> Tensor:
    """S = low + (high - low) sigmoid(a), t = (1 - s) tanh(b): never mirrored, never outside the map.

    Args:
        raw (Tensor): (a, b), shape (..., 4).
        anchor (Tensor): Not used.
        scale_range (tuple[float, float]): low and high, 0 <= low < high <= 1.

    Returns:
        Tensor: theta, shape (..., 4).
    """
    low, high = scale_range
    scale = low + (high - low) * raw[..., :2].sigmoid()
    return torch.cat((scale, (1 - scale) * raw[..., 2:].tanh()), dim=-1)


def unbounded_scale(scale: float, scale_range: tuple[float, float]) -> float:
    """The number a for which :func:`bounded_regions` gives ``scale``."""
    low, high = scale_range
    return math.log((scale - low) / (high - scale))


LOC_PARAMS: dict[str, Callable[..., Tensor]] = dict(
    direct=direct_regions, residual_anchor=residual_anchor_regions, bounded=bounded_regions
)
"""From what W_zm z + b_m says to theta, by name: each takes the raw numbers (B, 4), the step's anchor (2,) and the
range of scales."""

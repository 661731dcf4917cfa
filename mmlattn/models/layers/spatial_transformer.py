"""Axis-aligned spatial transformer: looking at a box of a feature map.

Jaderberg et al., "Spatial Transformer Networks", NIPS 2015, restricted to scale and translation as in Wang et al.,
"Multi-label Image Recognition by Recurrently Discovering Attentional Regions", ICCV 2017.

A region is theta = (s_x, s_y, t_x, t_y) on the last axis, in coordinates that run from -1 to 1 over the map, x to the
right and y down: (t_x, t_y) is the centre and (|s_x|, |s_y|) half the sides. It stands for

    M = [s_x   0  t_x]
        [  0 s_y  t_y],

which takes coordinates of the region to coordinates of the map. (1, 1, 0, 0) is the whole map; a negative scale
mirrors the region.

Shapes: theta and boxes (..., 4), boxes as xyxy in fractions of the map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision

Size = int | tuple[int, int]
"""(height, width) in cells, or one number for both."""


def theta_to_grid(theta: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """Where each cell of the sampled regions lies on the map: s u + t for every u of the region's own lattice.

    Equal to ``affine_grid(M, ...)``, which the TorchScript exporter of ONNX lacks.

    Args:
        theta (Tensor): Shape (..., 4).
        size (Size): Of the sampled region.
        align_corners (bool): Whether the outermost samples, rather than the edges of the outermost cells, lie on
            the box's border.

    Returns:
        Tensor: (x, y) of each cell, shape (..., height, width, 2).
    """
    height, width = (size, size) if isinstance(size, int) else size
    s_x, s_y, t_x, t_y = theta[..., None, None, :].unbind(-1)
    x = s_x * _lattice(width, align_corners, theta) + t_x  # (..., 1, width)
    y = s_y * _lattice(height, align_corners, theta)[:, None] + t_y  # (..., height, 1)
    return torch.stack(torch.broadcast_tensors(x, y), dim=-1)


def sample_regions(
    x: Tensor, theta: Tensor, size: Size, align_corners: bool = False, padding_mode: str = 'zeros'
) -> Tensor:
    """Read one region of each map by bilinear interpolation: (B, C, height, width) from x (B, C, h, w), theta (B, 4).

    Both are of one type. Outside the map lie 'zeros', or for the ``padding_mode`` 'border' its outermost values.
    """
    grid = theta_to_grid(theta, size, align_corners)
    return F.grid_sample(x, grid, mode='bilinear', padding_mode=padding_mode, align_corners=align_corners)


def mean_of_regions(x: Tensor, theta: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """The mean of :func:`sample_regions` over the cells of each region, (B, C), without the region itself.

    A box reads row by row and column by column, so how much each cell of the map has in the mean is the product of
    two short vectors, and the mean is one product of the map with it. Zeros lie outside the map. Fastest for a map
    that is ``channels_last`` in memory.
    """
    height, width = (size, size) if isinstance(size, int) else size
    s_x, s_y, t_x, t_y = theta.unbind(-1)
    with full_precision(x):
        rows = _shares(s_y, t_y, height, x.shape[-2], align_corners)
        columns = _shares(s_x, t_x, width, x.shape[-1], align_corners)
        shares = (rows[:, :, None] * columns[:, None]).flatten(1)
        return (shares[:, None] @ x.flatten(2).transpose(1, 2))[:, 0]


def theta_to_boxes(theta: Tensor) -> Tensor:
    """The boxes that regions cover, x1 <= x2 and y1 <= y2, not clipped; exact where ``align_corners`` is false."""
    half, centre = theta[..., :2].abs(), theta[..., 2:]
    return (torch.cat((centre - half, centre + half), dim=-1) + 1) / 2


def boxes_to_theta(boxes: Tensor) -> Tensor:
    """The regions, with scales of at least 0, that cover boxes: the inverse of :func:`theta_to_boxes`."""
    low, high = (boxes * 2 - 1).chunk(2, dim=-1)
    return torch.cat(((high - low) / 2, (high + low) / 2), dim=-1)


def compose_theta(outer: Tensor, inner: Tensor) -> Tensor:
    """A region of what ``outer`` shows, as a region of the map: x -> s_o (s_i x + t_i) + t_o."""
    scale, shift = outer[..., :2], outer[..., 2:]
    return torch.cat((scale * inner[..., :2], scale * inner[..., 2:] + shift), dim=-1)


def _lattice(count: int, align_corners: bool, like: Tensor) -> Tensor:
    """``count`` points over [-1, 1]: the centres of equal cells, or from border to border."""
    steps = torch.arange(count, dtype=like.dtype, device=like.device)
    if not align_corners:
        return (2 * steps + 1) / count - 1
    return steps * (2 / (count - 1)) - 1 if count > 1 else torch.zeros_like(steps)


def _shares(scale: Tensor, shift: Tensor, count: int, cells: int, align_corners: bool) -> Tensor:
    """What each of ``cells`` along an axis has in the mean of ``count`` samples: (B, cells) from (B,), (B,)."""
    at = scale[:, None] * _lattice(count, align_corners, scale) + shift[:, None]
    # From [-1, 1] to cells, whose centres have whole numbers, as grid_sample does it.
    at = (at + 1) / 2 * (cells - 1) if align_corners else ((at + 1) * cells - 1) / 2
    low = at.floor()
    far, low = (at - low)[..., None], low[..., None]
    index = torch.arange(cells, dtype=at.dtype, device=at.device)
    return torch.where(low == index, 1 - far, torch.where(low + 1 == index, far, 0.0)).mean(dim=1)

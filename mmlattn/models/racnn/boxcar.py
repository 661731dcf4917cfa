"""The soft mask of a square and the gradient it lends to a crop (Fu, Zheng and Mei, CVPR 2017).

    M(x, y) = W(x) W(y),   W(x) = h(x - x0) - h(x - x1),   h(u) = 1 / (1 + exp(-k u)),   x0 = a - l,  x1 = a + l

With h'(u) = k h(u) (1 - h(u)) the derivatives are

    dM/da = W(y) [-h'(x - x0) + h'(x - x1)],        dM/db alike,
    dM/dl = W(y) [h'(x - x0) + h'(x - x1)] + W(x) [h'(y - y0) + h'(y - y1)].

A crop of whole pixels has no gradient by its place. The paper gives it that of the mask, weighted by how much each
pixel of the finer scale matters; :func:`boxcar_gradient` is what the authors' released layer does for it.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Boxcar(NamedTuple):
    """Settings of the gradient; the defaults are those of the released layer.

    Args:
        sharpness (float): k, per pixel of the parent picture. The paper's mask has 10, the released layer 0.05.
        shrink (float): Constant that draws l towards smaller squares, per pixel of the parent's side.
        gain (float): Size of the gradient of the pixel that matters most.
    """

    sharpness: float = 0.05
    shrink: float = 0.005
    gain: float = 1e-7


def boxcar_window(x: Tensor, centre: Tensor, half: Tensor, sharpness: float) -> tuple[Tensor, Tensor, Tensor]:
    """W(x) and its derivatives by centre and half side, all in fractions of a side, ``sharpness`` per side."""
    rise = (sharpness * (x - centre + half)).sigmoid()
    fall = (sharpness * (x - centre - half)).sigmoid()
    slope_rise, slope_fall = (sharpness * h * (1 - h) for h in (rise, fall))
    return rise - fall, slope_fall - slope_rise, slope_rise + slope_fall


def boxcar_gradient(
    grad_crop: Tensor, squares: Tensor, parent_size: tuple[int, int], boxcar: Boxcar
) -> Tensor:
    """Gradient of the loss by a square, from the gradient by what was seen in it.

    g = |dL/dx|, divided by its maximum over each channel of each picture and summed over channels, is how much a
    pixel matters, whatever the sign. Pixels near an edge that matter push that edge outwards, those inside draw it
    inwards:

        -dL/da ~ sum g dM/da,   -dL/db ~ sum g dM/db,   -dL/dl ~ sum g (dM/dl - shrink)

    Pixel q of S along a side is taken at x0 + 2 l q / S of the parent.

    Args:
        grad_crop (Tensor): dL/dx of the crop, shape (B, C, height, width).
        squares (Tensor): Shape (B, 3), see ``squares.py``.
        parent_size (tuple[int, int]): (height, width) in pixels of the picture that the squares lie in.
        boxcar (Boxcar): Settings.

    Returns:
        Tensor: Shape (B, 3), float32. Pictures whose gradient is zero get zero.
    """
    g = grad_crop.float().abs()
    peak = g.amax(dim=(-2, -1), keepdim=True)
    g = boxcar.gain * (g / peak.where(peak > 0, 1)).sum(dim=1)
    height, width = parent_size
    half = squares[:, 2:].float()
    # Places from x0 = centre - half on, so that the centre is at half.
    x, x_a, x_l = boxcar_window(2 * half * _steps(g.shape[2], g), half, half, boxcar.sharpness * width)
    y, y_b, y_l = boxcar_window(2 * half * _steps(g.shape[1], g), half, half, boxcar.sharpness * height)
    columns = (g * y[:, :, None]).sum(dim=1)
    rows = (g * x[:, None, :]).sum(dim=2)
    grow = (columns * x_l).sum(dim=1) + (rows * y_l).sum(dim=1)
    shrink = boxcar.shrink * (height + width) / 2 * g.sum(dim=(1, 2))
    return torch.stack((-(columns * x_a).sum(dim=1), -(rows * y_b).sum(dim=1), shrink - grow), dim=-1)


def _steps(count: int, like: Tensor) -> Tensor:
    """0, 1 / count ... 1 - 1 / count."""
    return torch.arange(count, dtype=like.dtype, device=like.device) / count

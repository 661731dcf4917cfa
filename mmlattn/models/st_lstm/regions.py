"""Where regions are drawn to, and how the numbers of W_zm z + b_m place them.

Wang et al., ICCV 2017, draw K - 1 of K regions to points evenly spaced on a circle of radius sqrt(1/2) round the
centre of the map. That the first region is the free one, and that the circle starts at 45 degrees, is our
reading: four anchors are then the centres of the four quadrants.

A region is theta = (s_x, s_y, t_x, t_y) on the last axis, in coordinates that run from -1 to 1 over the map, x to the
right and y down; see ``layers/spatial_transformer.py``.
"""

import math

import torch
from torch import Tensor

from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

LOC_PARAMS = ('direct', 'residual_anchor', 'bounded')


def region_anchors(
    num_regions: int, radius: float = math.sqrt(0.5), start_angle: float = math.pi / 4, first: str = 'none'
) -> tuple[Tensor, Tensor]:
    """The anchors c_k = radius (cos a_k, sin a_k) with a_k = start_angle + 2 pi (k - 2) / (K - 1), k = 2 ... K.

    Args:
        num_regions (int): K.
        radius (float): Of the circle.
        start_angle (float): In radians, from the x axis towards the y axis, which points down.
        first (str): 'none' leaves the first region without an anchor; 'center' draws it to the centre.

    Returns:
        tuple[Tensor, Tensor]: The points (K, 2), float32, (0, 0) for the first; and which regions are drawn to
        theirs, (K,) bool.
    """
    check_number("anchor['radius']", radius)
    check_number("anchor['start_angle']", start_angle)
    check_choice("anchor['first']", first, ('none', 'center'))
    on_circle = num_regions - 1
    angles = start_angle + 2 * math.pi / max(on_circle, 1) * torch.arange(on_circle, dtype=torch.float64)
    circle = radius * torch.stack((angles.cos(), angles.sin()), dim=-1)
    mask = torch.tensor([first == 'center'] + [True] * on_circle)
    return torch.cat((torch.zeros(1, 2), circle.float())), mask


def place_region(raw: Tensor, anchor: Tensor, loc_param: str, scale_range: tuple[float, float]) -> Tensor:
    """Theta from W_zm z + b_m = (a_x, a_y, b_x, b_y).

    * 'direct', the paper's: s = a, t = b.
    * 'residual_anchor': s = a, t = anchor + b. Regions start at their anchors, and l_A is |b|^2 / 2.
    * 'bounded': s = low + (high - low) sigmoid(a), t = (1 - s) tanh(b). Regions are never mirrored and never leave
      the map.

    Args:
        raw (Tensor): Shape (..., 4).
        anchor (Tensor): Shape (2,).
        loc_param (str): One of ``LOC_PARAMS``.
        scale_range (tuple[float, float]): low and high, 0 <= low < high <= 1.

    Returns:
        Tensor: Shape (..., 4).
    """
    s, t = raw[..., :2], raw[..., 2:]
    if loc_param == 'residual_anchor':
        t = anchor + t
    elif loc_param == 'bounded':
        low, high = scale_range
        s = low + (high - low) * s.sigmoid()
        t = (1 - s) * t.tanh()
    return torch.cat((s, t), dim=-1)


def start_numbers(
    scale: float, shift: float, loc_param: str, scale_range: tuple[float, float]
) -> tuple[float, float, float, float]:
    """b_m before training: the numbers from which :func:`place_region` makes this scale, and this shift in x and y.

    Raises:
        UserError: If there are no such numbers.
    """
    check_number("loc_init['scale']", scale)
    check_number("loc_init['shift']", shift)
    if scale <= 0:
        raise UserError(f"loc_init['scale'] must be above 0, or regions begin as points, got {scale}")
    if loc_param != 'bounded':
        return scale, scale, shift, shift
    try:
        low, high = (float(limit) for limit in scale_range)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 1:
        raise UserError(f'scale_range must be two numbers with 0 <= low < high <= 1, got {scale_range!r}')
    if not (low < scale < high and abs(shift) < 1 - scale):
        raise UserError(
            f"loc_init for loc_param='bounded' must have a scale inside scale_range={scale_range} and a shift that "
            f'leaves the region in the map, |shift| < 1 - scale, got scale={scale}, shift={shift}'
        )
    a, b = math.log((scale - low) / (high - scale)), math.atanh(shift / (1 - scale))
    return a, a, b, b

"""Several crops of one picture, cut from its feature maps, and what they saw put back into the frame of the whole.

Wang et al., ICCV 2017, test so: a picture N pixels wide passes through the backbone once, and windows of N - 64
pixels, one at each corner and one in the centre, are cut from the feature map instead of the picture. At a stride of
16 pixels the margin of 64 is d = 4 cells, so the windows of a 32 x 32 map are 28 x 28, and that in the centre starts
at d // 2 = 2.

Sizes are (height, width), of inputs in pixels and of maps in cells. V is the number of windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.utils.errors import UserError

CROPS = ('five', 'ten')


class FeatureWindow(NamedTuple):
    """A part of a feature map, in cells; mirrored left to right after it is cut where ``flipped``."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool = False


def feature_windows(
    input_size: Sequence[int], map_size: Sequence[int], margin: int = 64, crops: str = 'five'
) -> tuple[FeatureWindow, ...]:
    """Where the crops lie: top left, top right, bottom left, bottom right, centre.

    Args:
        input_size (Sequence[int]): Of the network input.
        map_size (Sequence[int]): Of the feature map.
        margin (int): By how many pixels of the input the crops are smaller in height and width; two cells of the map
            or more. Of an odd number of cells, d, the centre takes the middle rounded down, d // 2.
        crops (str): 'five', or 'ten' for these and then the mirror image of each. A mirrored feature map is close to,
            but not the same as, the feature map of the mirrored picture.

    Raises:
        UserError: If the margin is no whole number of cells, or too small or too large for them.
    """
    d_y, d_x = (_margin_cells(input_size, map_size, margin, axis) for axis in (0, 1))
    origins = ((0, 0), (0, d_x), (d_y, 0), (d_y, d_x), (d_y // 2, d_x // 2))
    windows = tuple(FeatureWindow(*origin, map_size[0] - d_y, map_size[1] - d_x) for origin in origins)
    return windows if crops == 'five' else windows + tuple(w._replace(flipped=True) for w in windows)


def _margin_cells(input_size: Sequence[int], map_size: Sequence[int], margin: int, axis: int) -> int:
    sizes = f'input {tuple(input_size)}, feature map {tuple(map_size)}, margin {margin}'
    stride, rest = divmod(input_size[axis], map_size[axis])
    if rest or not stride:
        raise UserError(
            f'crops of the feature map need the same whole number of pixels for each cell, got {sizes}: resize to '
            "a multiple of the backbone's stride"
        )
    if map_size[axis] < 3:
        raise UserError(
            f'the input is too small for crops with any margin, got {sizes}: a cell is {stride} pixels, so resize to '
            f'{3 * stride} or more'
        )
    return check_margin(margin, stride, input_size[axis])


def check_margin(margin: int, stride: int, side: int | None = None) -> int:
    """The cells of a margin in pixels, at ``stride`` pixels to a cell; ``side`` is that of the input, where known.

    Raises:
        UserError: If they are not a whole number, fewer than two, or as many as the map has.
    """
    cells, rest = divmod(margin, stride)
    if rest or cells < 2 or (side is not None and margin >= side):
        of_side, end = ('', 'on') if side is None else (f' for {side} pixels', f'to {side - stride}')
        raise UserError(
            'the margin of crops must be a whole number of cells of the feature map, two or more, and leave some of '
            f'it, got margin={margin}{of_side}: a cell is {stride} pixels, so take a multiple of {stride} from '
            f'{2 * stride} {end} as margin, or another input size'
        )
    return cells


def scale_windows(
    windows: Sequence[FeatureWindow], map_size: Sequence[int], finer_size: Sequence[int]
) -> tuple[FeatureWindow, ...]:
    """The same parts of the picture on a finer map.

    Raises:
        UserError: If a cell is no whole number of the finer map's cells.
    """
    (y, rest_y), (x, rest_x) = (divmod(fine, cells) for fine, cells in zip(finer_size, map_size, strict=True))
    if rest_y or rest_x:
        raise UserError(
            f'crops need feature maps whose cells fit into each other, got maps of {tuple(finer_size)} and '
            f'{tuple(map_size)}: resize to a multiple of the largest stride, or take one map (out_indices)'
        )
    return tuple(FeatureWindow(w.top * y, w.left * x, w.height * y, w.width * x, w.flipped) for w in windows)


def cut_windows(x: Tensor, windows: Sequence[FeatureWindow]) -> Tensor:
    """The windows, all of one size, of maps (B, D, h, w), as (V * B, D, height, width), window by window."""
    cut = ((x[..., w.top : w.top + w.height, w.left : w.left + w.width], w.flipped) for w in windows)
    return torch.cat([part.flip(-1) if flipped else part for part, flipped in cut])


def boxes_from_windows(boxes: Tensor, windows: Sequence[FeatureWindow], map_size: Sequence[int]) -> Tensor:
    """Boxes (V, ..., 4), xyxy as fractions of their window, as fractions of the whole map.

    (box * size of the window + its origin) / size of the map; boxes of mirrored windows are mirrored back.
    """
    placed = []
    for box, window in zip(boxes, windows, strict=True):
        x1, y1, x2, y2 = box.unbind(-1)
        if window.flipped:
            x1, x2 = 1 - x2, 1 - x1
        x1, x2 = ((x * window.width + window.left) / map_size[1] for x in (x1, x2))
        y1, y2 = ((y * window.height + window.top) / map_size[0] for y in (y1, y2))
        placed.append(torch.stack((x1, y1, x2, y2), dim=-1))
    return torch.stack(placed)


def maps_from_windows(maps: Tensor, windows: Sequence[FeatureWindow], map_size: Sequence[int]) -> Tensor:
    """Maps (V, ..., height, width) over the cells of their window, over those of the whole map, (V, ..., h, w).

    There are zeros around, so sums stay the same; maps of mirrored windows are mirrored back.
    """
    pasted = []
    for part, window in zip(maps, windows, strict=True):
        right, bottom = map_size[1] - window.left - window.width, map_size[0] - window.top - window.height
        part = part.flip(-1) if window.flipped else part
        pasted.append(F.pad(part, (window.left, right, window.top, bottom)))
    return torch.stack(pasted)

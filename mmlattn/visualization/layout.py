"""Where things stand on the sheet, in pixels, and pictures as they are shown. Pure functions.

Pictures are (H, W, 3) uint8, or (H, W, 1) where they may be grey; boxes are (4,) xyxy in [0, 1] of the picture.
"""

from dataclasses import dataclass

import matplotlib
import mmcv
import numpy as np
from PIL import Image

from mmlattn.utils.errors import UserError

HEAT_COLORS = 'inferno'


@dataclass(frozen=True)
class SheetLayout:
    """A sheet of ``blocks``, side by side in ``columns``; each is one row of ``cells`` under captions.

    ``cell`` is the width of a cell and the most of its height, which is ``low`` where that is set;
    ``heading`` and ``legend`` are heights kept free above and below the blocks.
    """

    cells: int
    blocks: int
    columns: int = 1
    cell: int = 200
    heading: int = 0
    legend: int = 0
    low: int = 0

    @property
    def gap(self) -> int:
        """Between cells of a block."""
        return self.cell // 20

    @property
    def margin(self) -> int:
        """Around the sheet and between rows of blocks; twice as much stands between blocks side by side."""
        return self.cell // 8

    @property
    def caption(self) -> int:
        """Height of the captions."""
        return max(self.cell // 8, 18)

    @property
    def letters(self) -> float:
        """Height of letters in captions and lists."""
        return max(self.cell / 15, 9)

    @property
    def line(self) -> float:
        """From one line of a list to the next."""
        return max(self.cell / 9, 1.2 * self.letters)

    @property
    def lines(self) -> int:
        """How many lines of a list a cell takes."""
        return int(self.cell / self.line) - 1

    @property
    def block_size(self) -> tuple[int, int]:
        """Width and height of a block with its captions."""
        return self.cells * self.cell + (self.cells - 1) * self.gap, self.caption + (self.low or self.cell)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        rows = -(-self.blocks // self.columns)
        width, height = self.block_size
        height = rows * (height + self.margin) + self.margin + self.heading + self.legend
        return self.columns * (width + 2 * self.margin), height

    def cell_corner(self, block: int, cell: int) -> tuple[int, int]:
        """Left and top of a cell's picture; its caption stands in the ``caption`` pixels above."""
        row, column = divmod(block, self.columns)
        width, height = self.block_size
        x = self.margin + column * (width + 2 * self.margin) + cell * (self.cell + self.gap)
        y = self.margin + self.heading + row * (height + self.margin) + self.caption
        return x, y


def check_picture(image: np.ndarray) -> np.ndarray:
    """A picture as (H, W, 3) or (H, W, 1); raises ``UserError`` for what is none, or would have to be guessed."""
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise UserError(
            f'a picture to draw on must be (H, W, 3) in RGB or (H, W), of uint8 from 0 to 255, got {image.dtype} of '
            f'shape {image.shape}'
        )
    return image


def fit_picture(image: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture, grey or not, so that its longer side is ``side``.

    Small pictures keep their hard pixel edges; large ones are averaged down.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    interpolation = 'nearest' if scale >= 1.5 else 'area' if scale < 1 else 'bicubic'
    return mmcv.imresize(np.tile(image, 3 // image.shape[2]), size, interpolation=interpolation)


def fitted_height(size: tuple[float, float], side: int) -> int:
    """Height of a picture of some (height, width) once its longer side is ``side``."""
    return max(round(size[0] * side / max(size)), 1)


def zoom_picture(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Cut a picture, grey or not, to a box with an area, and scale that so that its longer side is ``side``."""
    # Bilinear, as networks that zoom in see it; Pillow cuts at fractions of pixels.
    height, width = image.shape[:2]
    box = np.asarray(box, np.float64) * [width, height, width, height]
    sides = box[2:] - box[:2]
    size = np.maximum(np.round(sides * side / sides.max()), 1).astype(int)
    picture = Image.fromarray(np.broadcast_to(image, (height, width, 3)))
    return np.asarray(picture.resize(tuple(size.tolist()), Image.Resampling.BILINEAR, box=tuple(box)))


def overlay(picture: np.ndarray, heat: np.ndarray, gamma: float, opacity: float = 1.0) -> np.ndarray:
    """Lay a map (h, w), not negative, over a grey copy of the picture: the hotter, the less of it shows through.

    Drawn is the share of the map's maximum to the power of ``gamma``; below 1 it shows the flanks of a sharp peak.
    ``opacity``, 0 to 1, makes all of it fainter.
    """
    height, width = picture.shape[:2]
    share = np.asarray(heat, dtype=np.float32) / max(float(heat.max()), np.finfo(np.float32).tiny)
    share = mmcv.imresize(share, (width, height), interpolation='bilinear') ** gamma
    color = matplotlib.colormaps[HEAT_COLORS](share)[..., :3] * 255
    opacity = 0.85 * opacity * share[..., None]
    return (_grey(picture) * (1 - opacity) + color * opacity).round().astype(np.uint8)


def spotlight(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Leave a picture as it is inside a box; outside grey, with 45 % of its brightness."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = np.round(np.asarray(box) * [width, height, width, height]).astype(int)
    lit = (_grey(picture) * 0.45).round().astype(np.uint8)
    lit[y0:y1, x0:x1] = picture[y0:y1, x0:x1]
    return lit


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1)

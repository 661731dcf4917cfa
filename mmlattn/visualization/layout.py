"""Where things stand on the sheet, in pixels, and how a map is laid over a picture. Pure functions."""

from dataclasses import dataclass

import matplotlib
import mmcv
import numpy as np
from PIL import Image

__all__ = ['SheetLayout', 'fit_picture', 'overlay', 'zoom_picture']


@dataclass(frozen=True)
class SheetLayout:
    """A sheet of blocks; each block is one row of square cells under captions.

    Args:
        cells (int): Cells in a block.
        blocks (int): Blocks on the sheet.
        columns (int): Blocks side by side.
        cell (int): Side of a cell, pixels.
        heading (int): Height kept free above the blocks.
        legend (int): Height kept free below the blocks.
    """

    cells: int
    blocks: int
    columns: int = 1
    cell: int = 200
    heading: int = 0
    legend: int = 0

    @property
    def gap(self) -> int:
        """Between cells of a block."""
        return self.cell // 20

    @property
    def margin(self) -> int:
        """Around the sheet and between rows of blocks."""
        return self.cell // 8

    @property
    def gutter(self) -> int:
        """Between blocks side by side."""
        return 2 * self.margin

    @property
    def caption(self) -> int:
        """Height of the captions."""
        return max(self.cell // 8, 18)

    @property
    def block_size(self) -> tuple[int, int]:
        """Width and height of a block with its captions."""
        return self.cells * self.cell + (self.cells - 1) * self.gap, self.caption + self.cell

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the sheet."""
        rows = -(-self.blocks // self.columns)
        width, height = self.block_size
        return (
            self.columns * (width + self.gutter) - self.gutter + 2 * self.margin,
            rows * (height + self.margin) + self.margin + self.heading + self.legend,
        )

    def cell_corner(self, block: int, cell: int) -> tuple[int, int]:
        """Left and top of a cell's picture; its caption stands in the ``caption`` pixels above."""
        row, column = divmod(block, self.columns)
        width, height = self.block_size
        x = self.margin + column * (width + self.gutter) + cell * (self.cell + self.gap)
        y = self.margin + self.heading + row * (height + self.margin) + self.caption
        return x, y


def fit_picture(image: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture to fit a square cell, keeping its shape.

    Small pictures keep their hard pixel edges; large ones are averaged down.

    Args:
        image (np.ndarray): Shape (H, W, 3), or (H, W, 1) for grey, uint8.
        side (int): Side of the cell, pixels.

    Returns:
        np.ndarray: Shape (h, w, 3) with max(h, w) = ``side``.
    """
    height, width = image.shape[:2]
    if image.shape[2] == 1:
        image = image.repeat(3, axis=2)
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return mmcv.imresize(
        image, size, interpolation='nearest' if scale >= 1.5 else 'area' if scale < 1 else 'bicubic'
    )


def zoom_picture(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """Cut a picture to a box and scale that to fit a square cell, keeping its shape.

    Bilinear, as networks that zoom in see it; Pillow cuts at fractions of pixels.

    Args:
        image (np.ndarray): Shape (H, W, 3), or (H, W, 1) for grey, uint8.
        box (np.ndarray): Shape (4,), xyxy in [0, 1] of the picture, of positive area.
        side (int): Side of the cell, pixels.

    Returns:
        np.ndarray: Shape (h, w, 3) with max(h, w) = ``side``.
    """
    height, width = image.shape[:2]
    box = np.asarray(box, np.float64) * [width, height, width, height]
    sides = box[2:] - box[:2]
    size = np.maximum(np.round(sides * side / sides.max()), 1).astype(int)
    picture = Image.fromarray(np.broadcast_to(image, (height, width, 3)))
    return np.asarray(picture.resize(tuple(size.tolist()), Image.Resampling.BILINEAR, box=tuple(box)))


def overlay(
    picture: np.ndarray,
    heat: np.ndarray,
    colormap: str = 'inferno',
    interpolation: str = 'bilinear',
    strength: float = 0.85,
    gamma: float = 0.5,
) -> np.ndarray:
    """Lay a map over a grey copy of the picture; the hotter, the less of the picture shows through.

    Args:
        picture (np.ndarray): Shape (H, W, 3), uint8.
        heat (np.ndarray): Shape (h, w), non-negative, drawn as a share of its maximum. All zero leaves the grey
            picture.
        colormap (str): Name of a matplotlib colour map.
        interpolation (str): 'bilinear' or 'nearest', from (h, w) to (H, W).
        strength (float): Opacity at the maximum, 0 to 1.
        gamma (float): Power of the share; below 1 it keeps the flanks of a sharp peak visible.

    Returns:
        np.ndarray: Shape (H, W, 3), uint8.
    """
    height, width = picture.shape[:2]
    share = np.asarray(heat, dtype=np.float32) / max(float(heat.max()), np.finfo(np.float32).tiny)
    share = mmcv.imresize(share, (width, height), interpolation=interpolation)[..., None]
    grey = picture.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    share = share**gamma
    color = matplotlib.colormaps[colormap](share[..., 0])[..., :3] * 255
    opacity = strength * share
    return (grey * (1 - opacity) + color * opacity).round().astype(np.uint8)

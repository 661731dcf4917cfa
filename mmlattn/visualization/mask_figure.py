"""What the soft masks of a residual attention network do to one picture, as figure 1 of its paper draws it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.linalg import qr
from torch import Tensor

from .layout import HEAT_COLORS

FEATURE_COLORS, INK = 'RdBu_r', '#1A1A1A'
READING_AID = (
    'Masks: dark to bright is lowest to highest of each map, as given below it.',
    'Features: blue is negative, white 0, red positive; full from the 99th percentile on.',
    'Channels: most variance of the mask that those to the left do not explain.',
)


@dataclass(frozen=True)
class AttentionMaps:
    """What one attention module did to one picture: T, M, and (1 + M) T or, if naive, M T; all (C, h, w)."""

    name: str
    trunk: Tensor
    mask: Tensor
    fused: Tensor
    naive: bool = False


def telling_channels(mask: Tensor, count: int) -> list[int]:
    """At most ``count`` channels of a mask (C, h, w) that say most about it.

    The first varies most over the picture; each further one has the largest variance that no linear combination of
    those before explains: pivots of a QR decomposition. They end where nothing is left to explain.
    """
    channels = mask.flatten(1).double()
    centred = channels - channels.mean(dim=1, keepdim=True)
    triangle, pivots = qr(centred.T.numpy(), mode='r', pivoting=True)
    left = np.abs(triangle.diagonal())
    return pivots[: len(left)][left > 1e-6 * left[0]][:count].tolist()


@dataclass(frozen=True)
class Grid:
    """Where cells stand on the figure, in inches from its top left corner.

    A row is an attention module; ``aspect`` is the height of the picture over its width.
    """

    rows: int
    channels: int
    aspect: float

    label, gap, margin, caption, titles = 1.25, 0.1, 0.15, 0.22, 0.25
    head_scale = 1.35
    """Side of the picture on top over that of a cell."""

    @property
    def cell(self) -> tuple[float, float]:
        """Width and height of a cell, 1.5 inches in the longer direction, but wide enough for its caption."""
        width = max(1.5 / max(self.aspect, 1), 1)
        return width, width * self.aspect

    @property
    def head(self) -> float:
        """Height of what is above the cells: the picture, the text beside it, the titles of the columns."""
        return max(self.head_scale * self.cell[1], 1.5) + self.titles + 2 * self.margin

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        right = self.corner(0, 3 * self.channels)[0] + self.cell[0] + self.margin
        # The text beside the picture takes 5 inches.
        text = 2 * self.margin + self.head_scale * self.cell[0] + 5
        return max(right, text), self.corner(self.rows, 0)[1] + self.margin

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Left and top of a cell: the mean mask in column 0, three columns for each channel, set apart."""
        groups = -(-column // 3)
        x = self.margin + self.label + column * (self.cell[0] + self.gap) + 2 * self.gap * groups
        return x, self.head + row * (self.cell[1] + self.caption + self.gap)


def draw_masks(
    picture: np.ndarray, heading: Mapping[str, str], attentions: Sequence[AttentionMaps], channels: int = 2
) -> Figure:
    """One row for each attention module: its mean mask, and T, M and their fusion for its most telling channels.

    Args:
        picture (np.ndarray): Shape (H, W, 3), uint8, RGB.
        heading (Mapping[str, str]): Lines of text and their colours; the first is set in bold.
        attentions (Sequence[AttentionMaps]): At least one.
        channels (int): Channels of each, see :func:`telling_channels`.
    """
    grid = Grid(len(attentions), channels, picture.shape[0] / picture.shape[1])
    figure = Figure(figsize=grid.size, dpi=130, facecolor='white')
    width, height = grid.size

    def write(x: float, y: float, text: str, **style) -> None:
        style = dict(fontsize=8, va='top', color=INK, family='DejaVu Sans') | style
        figure.text(x / width, 1 - y / height, text, **style)

    def image(x: float, y: float, values: np.ndarray, scale: float = 1, **style) -> None:
        w, h = (side * scale for side in grid.cell)
        axes = figure.add_axes([x / width, 1 - (y + h) / height, w / width, h / height], xticks=[], yticks=[])
        axes.spines[:].set(color='#AAAAAA', linewidth=0.4)
        axes.imshow(values, aspect='auto', **style)

    image(grid.margin, grid.margin, picture, grid.head_scale, interpolation='antialiased')
    x = 2 * grid.margin + grid.head_scale * grid.cell[0]
    for number, (line, color) in enumerate((dict(heading) | dict.fromkeys(READING_AID, '#555555')).items()):
        write(x, grid.margin + 0.19 * number, line, color=color, fontweight='normal' if number else 'bold')
    fusion = 'M T' if attentions[0].naive else '(1 + M) T'
    for column, title in enumerate(['mean mask', *('before: T', 'mask: M', f'after: {fusion}') * channels]):
        write(grid.corner(0, column)[0], grid.head - 0.07, title, va='baseline', fontweight='bold')
    for row, attention in enumerate(attentions):
        x, y = grid.corner(row, 0)
        label = f'{attention.name.replace("backbone.", "")}\n{" x ".join(map(str, attention.mask.shape))}'
        write(grid.margin, y + grid.cell[1] / 2, label, va='center')
        for column, (values, style, text) in enumerate(_cells(attention, channels)):
            x, y = grid.corner(row, column)
            image(x, y, values, **style)
            write(x, y + grid.cell[1] + 0.13, text, va='baseline', fontsize=7)
    return figure


def _cells(attention: AttentionMaps, channels: int) -> Iterator[tuple[np.ndarray, dict, str]]:
    """Values, style and caption of each cell of a row."""
    mean = attention.mask.mean(dim=0)
    mask_style = dict(cmap=HEAT_COLORS, interpolation='nearest')
    yield mean.numpy(), mask_style, f'{mean.min():.2f} to {mean.max():.2f}'
    for channel in telling_channels(attention.mask, channels):
        trunk, mask, fused = (
            part[channel].numpy() for part in (attention.trunk, attention.mask, attention.fused)
        )
        limit = max(*(np.quantile(np.abs(part), 0.99) for part in (trunk, fused)), 1e-9)
        feature = dict(cmap=FEATURE_COLORS, vmin=-limit, vmax=limit, interpolation='nearest')
        yield trunk, feature, f'channel {channel}'
        yield mask, mask_style, f'{mask.min():.2f} to {mask.max():.2f}'
        yield fused, feature, f'both ±{limit:.2g}'

"""What the soft masks of a residual attention network do to one picture, as figure 1 of its paper draws it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from scipy.linalg import qr
from torch import Tensor

from .fonts import find_families, font_family, without_letters
from .layout import HEAT_COLORS
from .palette import INK

FEATURE_COLORS = 'RdBu_r'
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


def draw_masks(
    picture: np.ndarray,
    heading: Mapping[str, str],
    attentions: Sequence[AttentionMaps],
    channels: int = 2,
    font: str | None = None,
) -> Figure:
    """One row for each attention module: its mean mask, and T, M and their fusion for its most telling channels.

    Args:
        picture (np.ndarray): Shape (H, W, 3), uint8, RGB.
        heading (Mapping[str, str]): Lines of text and their colours; the first is set in bold.
        attentions (Sequence[AttentionMaps]): At least one.
        channels (int): Channels of each, see :func:`telling_channels`.
        font (str, optional): As for ``EvidenceVisualizer``.
    """
    families, missing = find_families(heading, None if font is None else font_family(font))
    lines = [(without_letters(line, missing), color) for line, color in heading.items()]
    # Names of files and classes are no formulas.
    with matplotlib.rc_context({'font.family': families, 'text.parse_math': False}):
        return _draw_figure(picture, lines, attentions, channels)


def _draw_figure(
    picture: np.ndarray,
    heading: Sequence[tuple[str, str]],
    attentions: Sequence[AttentionMaps],
    channels: int,
) -> Figure:
    rows, aspect = len(attentions), picture.shape[0] / picture.shape[1]
    # In inches; cells are wide enough for their captions, and a narrow column sets each channel apart.
    width = max(1.5 / max(aspect, 1), 1)
    widths, heights = [width, *(0.1, width, width, width) * channels], [width * aspect] * rows
    # The text beside the picture takes five lines; names of modules take 1.5 inches, the text 4.5.
    heights.insert(0, max(1.2 * width * aspect, 1.2))
    size = max(sum(widths) + 0.1 * len(widths) + 1.5, 1.2 * width + 6), sum(heights) + 0.3 * rows + 0.6
    figure = Figure(size, dpi=130, layout='constrained')
    figure.get_layout_engine().set(rect=(0.01, 0.01, 0.98, 0.98))
    grid = figure.add_gridspec(rows + 1, len(widths), width_ratios=widths, height_ratios=heights)

    def show(place: SubplotSpec, values: np.ndarray, **style) -> Axes:
        axes = figure.add_subplot(place, box_aspect=aspect, xticks=[], yticks=[], anchor='NW')
        axes.spines[:].set(color='#AAAAAA', linewidth=0.4)
        axes.imshow(values, aspect='auto', **style)
        return axes

    shown = show(grid[0, :2], picture, interpolation='antialiased')
    for number, (line, color) in enumerate([*heading, *((line, '#555555') for line in READING_AID)]):
        text = shown.annotate(line, (1, 1), (9, -14 * number), 'axes fraction', 'offset points', color=color)
        text.set(fontsize=8, fontweight='normal' if number else 'bold', va='top', in_layout=False)
    fusion = 'M T' if attentions[0].naive else '(1 + M) T'
    titles = ['mean mask', *('before: T', 'mask: M', f'after: {fusion}') * channels]
    for row, attention in enumerate(attentions):
        for number, (values, style, caption) in enumerate(_cells(attention, channels)):
            axes = show(grid[row + 1, number + -(-number // 3)], values, **style)
            axes.set_xlabel(caption, loc='left', fontsize=7, color=INK)
            if row == 0:
                axes.set_title(titles[number], loc='left', fontsize=8, fontweight='bold', color=INK)
            if number == 0:
                name = (
                    f'{attention.name.replace("backbone.", "")}\n{" x ".join(map(str, attention.mask.shape))}'
                )
                axes.set_ylabel(name, rotation=0, ha='right', va='center', ma='left', fontsize=8, color=INK)
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

"""The legend below a sheet: only what the sheet shows."""

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .layout import SheetLayout
from .panels import OUTCOME_COLORS, Panel

__all__ = ['draw_legend']

OUTCOME_TEXTS = dict(
    correct='correct', wrong='wrongly predicted', missed='missed', ignored='ignored in the truth'
)
# Width of each key symbol with its space, in heights of the text.
KEY_WIDTHS = dict(none=0, bar=5.6, peak=1.6, box=1.6)


def draw_legend(ax: Axes, layout: SheetLayout, panels: Sequence[Panel], colormap: str) -> None:
    """Draw the legend left to right, in as many lines as it needs.

    Args:
        ax (Axes): In pixels of the sheet, y downwards.
        layout (SheetLayout): Of the sheet.
        panels (Sequence[Panel]): All panels drawn.
        colormap (str): Of the maps.
    """
    size = layout.caption * 0.45
    width, height = layout.size
    x, y = float(layout.margin), height - layout.legend - (layout.margin - layout.caption) / 2
    renderer = ax.figure.canvas.get_renderer()
    for key, text, color in _entries(panels):
        label = ax.text(0, 0, text, color=color, size=size * 72 / ax.figure.dpi * 1.15, va='center')
        length = KEY_WIDTHS[key] * size + label.get_window_extent(renderer).width
        if x + length > width - layout.margin and x > layout.margin:
            x, y = float(layout.margin), y + layout.caption
        _draw_key(ax, key, x, y, size, colormap)
        label.set_position((x + KEY_WIDTHS[key] * size, y))
        x += length + 1.6 * size


def _entries(panels: Sequence[Panel]) -> Iterator[tuple[str, str, str]]:
    ink = OUTCOME_COLORS['predicted']
    outcomes = {panel.outcome for panel in panels} | {line[1] for panel in panels for line in panel.lines}
    for outcome, text in OUTCOME_TEXTS.items():
        if outcome in outcomes:
            yield 'none', text, OUTCOME_COLORS[outcome]
    for text in dict.fromkeys(panel.heat_text for panel in panels if panel.heat is not None):
        yield 'bar', text, ink
    if any(panel.peak is not None for panel in panels):
        yield 'peak', 'its peak', ink
    if any(len(panel.boxes) for panel in panels):
        yield 'box', 'true box', ink


def _draw_key(ax: Axes, key: str, x: float, y: float, size: float, colormap: str) -> None:
    points = size * 72 / ax.figure.dpi
    if key == 'bar':
        colors = matplotlib.colormaps[colormap](np.linspace(0, 1, 64))[None]
        ax.imshow(colors, extent=(x, x + 5 * size, y + size / 2, y - size / 2), aspect='auto')
    elif key == 'box':
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='#BBBBBB', ec='black', lw=points / 4))
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='none', ec='white', lw=points / 9))
    elif key == 'peak':
        ax.plot([x + size / 2], [y], 'P', ms=points, mfc='#56B4E9', mec='black', mew=points / 10)

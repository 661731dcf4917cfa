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


def draw_legend(ax: Axes, layout: SheetLayout, panels: Sequence[Panel], colormap: str) -> None:
    """Draw the legend in one line, left to right, wrapping never: the sheet is at least two cells wide.

    Args:
        ax (Axes): In pixels of the sheet, y downwards.
        layout (SheetLayout): Of the sheet.
        panels (Sequence[Panel]): All panels drawn.
        colormap (str): Of the maps.
    """
    size = layout.caption * 0.45
    y = layout.size[1] - layout.margin * 0.7
    x = float(layout.margin)
    renderer = ax.figure.canvas.get_renderer()
    for key, text, color in _entries(panels):
        x = _draw_key(ax, key, x, y, size, colormap)
        label = ax.text(x, y, text, color=color, size=size * 72 / ax.figure.dpi * 1.15, va='center')
        x += label.get_window_extent(renderer).width + 1.6 * size


def _entries(panels: Sequence[Panel]) -> Iterator[tuple[str, str, str]]:
    ink = OUTCOME_COLORS['predicted']
    outcomes = {panel.outcome for panel in panels} | {line[1] for panel in panels for line in panel.lines}
    for outcome, text in OUTCOME_TEXTS.items():
        if outcome in outcomes:
            yield 'dot', text, OUTCOME_COLORS[outcome]
    if any(panel.heat is not None for panel in panels):
        yield 'bar', 'attention, none to most', ink
    if any(panel.peak is not None for panel in panels):
        yield 'peak', 'its peak', ink
    if any(len(panel.boxes) for panel in panels):
        yield 'box', 'true box', ink


def _draw_key(ax: Axes, key: str, x: float, y: float, size: float, colormap: str) -> float:
    """Draw one key symbol at x and return where its text begins."""
    points = size * 72 / ax.figure.dpi
    if key == 'bar':
        colors = matplotlib.colormaps[colormap](np.linspace(0, 1, 64))[None]
        ax.imshow(colors, extent=(x, x + 5 * size, y + size / 2, y - size / 2), aspect='auto')
        return x + 5.6 * size
    if key == 'box':
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='#BBBBBB', ec='black', lw=points / 4))
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='none', ec='white', lw=points / 9))
        return x + 1.6 * size
    if key == 'peak':
        ax.plot([x + size / 2], [y], 'P', ms=points, mfc='#56B4E9', mec='black', mew=points / 10)
        return x + 1.6 * size
    return x

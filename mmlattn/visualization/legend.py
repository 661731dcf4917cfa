"""The legend below a sheet: only what the sheet shows."""

from collections.abc import Iterator, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .layout import HEAT_COLORS, SheetLayout
from .marks import draw_key, draw_peak, draw_turn, label_width
from .panels import OUTCOME_COLORS, Panel

OUTCOME_TEXTS = dict(
    correct='correct', wrong='wrongly predicted', missed='missed', ignored='ignored in the truth'
)
# Marks by the field of Panel that holds them.
MARK_TEXTS = dict(
    peak='its peak', regions='region, numbered in order', lit='where a class was read', boxes='true box'
)
# Width of each key symbol with its space, in heights of the text.
KEY_WIDTHS = dict(none=0, bar=5.6, peak=1.6, regions=1.9, lit=1.9, boxes=1.6, turn=1.9)


def draw_legend(ax: Axes, layout: SheetLayout, panels: Sequence[Panel]) -> int:
    """Draw the legend of all panels, left to right; return its lines of ``layout.caption`` pixels, at least 1."""
    size, x, line = layout.caption * 0.45, float(layout.margin), 0
    top = layout.size[1] - layout.legend - (layout.margin - layout.caption) / 2
    for key, text, color in _entries(panels):
        label = ax.text(0, 0, text, color=color, size=size * 72 / ax.figure.dpi * 1.15, va='center')
        length = KEY_WIDTHS[key] * size + label_width(label)
        if x + length > layout.size[0] - layout.margin and x > layout.margin:
            x, line = float(layout.margin), line + 1
        y = top + line * layout.caption
        _draw_key(ax, key, x, y, size)
        label.set_position((x + KEY_WIDTHS[key] * size, y))
        x += length + 1.6 * size
    return line + 1


def _entries(panels: Sequence[Panel]) -> Iterator[tuple[str, str, str]]:
    ink = OUTCOME_COLORS['predicted']
    outcomes = {panel.outcome for panel in panels} | {line[1] for panel in panels for line in panel.lines}
    for outcome, text in OUTCOME_TEXTS.items():
        if outcome in outcomes:
            yield 'none', text, OUTCOME_COLORS[outcome]
    if any(panel.steps for panel in panels):
        yield 'turn', 'order in which labels were decoded', ink
    for text in dict.fromkeys(panel.heat_text for panel in panels if panel.heat is not None):
        yield 'bar', text, ink
    for key, text in MARK_TEXTS.items():
        marks = [getattr(panel, key) for panel in panels]
        if any(mark is not None and len(mark) for mark in marks):
            yield key, text, ink


def _draw_key(ax: Axes, key: str, x: float, y: float, size: float) -> None:
    points = 72 / ax.figure.dpi
    if key == 'bar':
        colors = matplotlib.colormaps[HEAT_COLORS](np.linspace(0, 1, 64))[None]
        ax.imshow(colors, extent=(x, x + 5 * size, y + size / 2, y - size / 2), aspect='auto')
    elif key == 'regions':
        draw_key(ax, x, y, 1.3 * size)
    elif key == 'turn':
        draw_turn(ax, 1, OUTCOME_COLORS['predicted'], x + 0.65 * size, y, 0.65 * size)
    elif key == 'lit':
        ax.add_patch(Rectangle((x, y - 0.65 * size), 1.3 * size, 1.3 * size, fc='#444444'))
        ax.add_patch(Rectangle((x + 0.3 * size, y - 0.1 * size), 0.7 * size, 0.5 * size, fc='#F4F4F4'))
    elif key == 'boxes':
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='#BBBBBB', ec='black', lw=size / 4 * points))
        ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='none', ec='white', lw=size / 9 * points))
    elif key == 'peak':
        draw_peak(ax, x + size / 2, y, size, edge=size / 10)

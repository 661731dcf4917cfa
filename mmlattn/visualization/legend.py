"""The legend below a sheet: only what the sheet shows."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from .layout import HEAT_COLORS, SheetLayout
from .marks import draw_key, draw_outcome, draw_peak, draw_turn, is_dashed, label_width
from .palette import INK
from .panels import Panel, Region

OUTCOME_TEXTS = dict(
    correct='correct', wrong='wrongly predicted', missed='missed', ignored='ignored in the truth'
)
# Draws a key at the left x and the middle y in letters of a height.
Key = Callable[[Axes, float, float, float], None]


def draw_legend(ax: Axes, layout: SheetLayout, panels: Sequence[Panel]) -> int:
    """Draw the legend of all panels, left to right; return its lines of ``layout.caption`` pixels, at least 1."""
    size, left, line = layout.caption * 0.45, float(layout.margin), 0
    right, x = layout.size[0] - layout.margin, left
    top = layout.size[1] - layout.legend - (layout.margin - layout.caption) / 2
    for draw, width, text in _entries(panels):
        label = ax.text(0, 0, text, color=INK, size=size * 72 / ax.figure.dpi * 1.15, va='center')
        if x + width * size + label_width(label) > right and x > left:
            x, line = left, line + 1
        draw(ax, x, top + line * layout.caption, size)
        rest = _fit_words(label, right - x - width * size)
        label.set_position((x + width * size, top + line * layout.caption))
        while rest:
            x, line = left, line + 1
            label = ax.text(0, 0, rest, color=INK, size=label.get_size(), va='center')
            rest = _fit_words(label, right - x - width * size)
            label.set_position((x + width * size, top + line * layout.caption))
        x += width * size + label_width(label) + 1.6 * size
    return line + 1


def _fit_words(label: Text, width: float) -> str:
    """Shorten a text to the words that fit into a width, at least one; return the others."""
    words = label.get_text().split(' ')
    for count in range(len(words), 0, -1):
        label.set_text(' '.join(words[:count]))
        if label_width(label) <= width:
            break
    return ' '.join(words[count:])


def _entries(panels: Sequence[Panel]) -> Iterator[tuple[Key, float, str]]:
    """What draws each key, its width with the space after it in heights of the text, and its text."""
    outcomes = {panel.outcome for panel in panels} | {line[1] for panel in panels for line in panel.lines}
    for outcome, text in OUTCOME_TEXTS.items():
        if outcome in outcomes:
            yield partial(_outcome_key, outcome), 1.9, text
    if any(panel.steps for panel in panels):
        yield _turn_key, 1.9, 'order in which labels were decoded'
    for text in dict.fromkeys(panel.heat_text for panel in panels if panel.heat is not None):
        yield _heat_key, 5.6, text
    if any(panel.peak is not None for panel in panels):
        yield _peak_key, 1.6, 'its peak'
    # Of the regions with the same text the first is the key, so that it shows a number that is there.
    regions = {panel.regions_text: panel.regions[0] for panel in reversed(panels) if panel.regions}
    for text, region in reversed(regions.items()):
        yield partial(_region_key, region), 1.9, text
    if any(is_dashed(region) for panel in panels for region in panel.regions):
        yield _dashed_key, 1.9, 'dashed: a colour that comes again'
    if any(panel.lit is not None for panel in panels):
        yield _lit_key, 1.9, 'where a class was read'
    if any(len(panel.boxes) for panel in panels):
        yield _box_key, 1.6, 'true box'
    for text in dict.fromkeys(note for panel in panels for note in panel.notes):
        yield lambda *_: None, 0, text


def _outcome_key(outcome: str, ax: Axes, x: float, y: float, size: float) -> None:
    draw_outcome(ax, outcome, x + 0.65 * size, y, 0.65 * size)


def _turn_key(ax: Axes, x: float, y: float, size: float) -> None:
    draw_turn(ax, 1, x + 0.65 * size, y, 0.65 * size)


def _heat_key(ax: Axes, x: float, y: float, size: float) -> None:
    colors = matplotlib.colormaps[HEAT_COLORS](np.linspace(0, 1, 64))[None]
    ax.imshow(colors, extent=(x, x + 5 * size, y + size / 2, y - size / 2), aspect='auto')


def _peak_key(ax: Axes, x: float, y: float, size: float) -> None:
    draw_peak(ax, x + size / 2, y, size, edge=size / 10)


def _region_key(region: Region, ax: Axes, x: float, y: float, size: float) -> None:
    draw_key(ax, region, x, y, 1.3 * size)


def _dashed_key(ax: Axes, x: float, y: float, size: float) -> None:
    style = dict(fc='none', ec='black', lw=size / 7 * 72 / ax.figure.dpi, ls=(0, (3, 1.5)))
    ax.add_patch(Rectangle((x, y - size / 2), 1.3 * size, size, **style))


def _lit_key(ax: Axes, x: float, y: float, size: float) -> None:
    ax.add_patch(Rectangle((x, y - 0.65 * size), 1.3 * size, 1.3 * size, fc='#444444'))
    ax.add_patch(Rectangle((x + 0.3 * size, y - 0.1 * size), 0.7 * size, 0.5 * size, fc='#F4F4F4'))


def _box_key(ax: Axes, x: float, y: float, size: float) -> None:
    points = 72 / ax.figure.dpi
    ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='#BBBBBB', ec='black', lw=size / 4 * points))
    ax.add_patch(Rectangle((x, y - size / 2), size, size, fc='none', ec='white', lw=size / 9 * points))

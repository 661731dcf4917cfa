"""Marks drawn on the sheet: numbered boxes with tags that stay legible, numbered dots joined by arrows.

The axes are in pixels of the sheet, y downwards. ``letters`` is a height of letters in pixels.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from matplotlib.path import Path
from matplotlib.text import Text

from .palette import INK, OUTCOME_COLORS, REGION_COLORS, legible_on
from .panels import Region

# Drawn, not written, so that no font can lack them; sides as multiples of the radius of the disc they stand on.
OUTCOME_SIGNS = dict(
    correct=(Path([(-0.5, 0.05), (-0.15, -0.4), (0.5, 0.45)]), 1.05),
    wrong=('x', 0.9),
    missed=('o', 0.95),
    ignored=('_', 1.1),
)


def label_width(label: Text) -> float:
    """Width of a text that stands on an axes, pixels."""
    return label.get_window_extent().width


def fit_label(label: Text, width: float) -> None:
    """Shorten a text to a width in pixels: its name, and if need be what follows two blanks, from the end on."""
    name, *details = label.get_text().split('  ')

    def show(length: int, count: int) -> float:
        cut = name if length == len(name) else name[:length].rstrip() + '…'
        label.set_text('  '.join([cut, *details[:count]]))
        return label_width(label)

    for count in range(len(details), -1, -1):
        if show(len(name), count) <= width:
            return
        # The longest beginning that fits; an ellipsis takes the place of at least one letter.
        fitting = bisect_right(range(1, len(name)), width, key=lambda length: show(length, count))
        show(max(fitting, 1), count)
        if fitting:
            return


def draw_regions(
    ax: Axes, regions: Sequence[Region], corner: tuple[int, int], size: tuple[int, int], cell: int
) -> None:
    """Draw boxes and, above all of them, their tags: the number, and the names as far as they fit.

    The picture stands in a cell of ``cell`` pixels, its left top at ``corner``, its width and height are ``size``.
    """
    line, letters, points = max(cell / 80, 1.5), max(cell / 17, 8), 72 / ax.figure.dpi
    frame = np.array([*size, *size])
    # So that lines on the border are seen whole.
    inset = min(line, *frame / 2)
    boxes = (torch.stack([region.box for region in regions]).numpy() * frame).clip(inset, frame - inset)
    for region, (x0, y0, x1, y1) in zip(regions, boxes + np.tile(corner, 2), strict=True):
        color, stroke = _style(region)
        outline = dict(xy=(x0, y0), width=x1 - x0, height=y1 - y0, fill=False, joinstyle='miter')
        ax.add_patch(Rectangle(**outline, ec='black', lw=2 * line * points, alpha=0.75))
        ax.add_patch(Rectangle(**outline, ec=color, lw=line * points, ls=stroke))
    # Names beside the numbers would cover a small picture.
    room = 0.6 * size[0] if cell >= 120 else 0
    labels = [_tag_label(ax, region, letters, room) for region in regions]
    sizes = np.array([[label_width(label) + 0.6 * letters, 1.35 * letters] for label in labels])
    places = place_tags(boxes, sizes, size) + corner
    for region, label, place, tag in zip(regions, labels, places, sizes, strict=True):
        _put_tag(label, region, place, tag)


def draw_key(ax: Axes, region: Region, x: float, y: float, size: float) -> None:
    """Draw the legend's key, a square tag ``size`` pixels wide, with its left edge at ``x``, its middle at ``y``."""
    label = _tag_label(ax, region, 0.75 * size, 0)
    _put_tag(label, region, np.array([x, y - size / 2]), np.array([size, size]))


def place_tags(boxes: np.ndarray, sizes: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Find a place for the tag of each box: along its outline, else anywhere, without covering another tag.

    A tag stands inside its box if the box is large enough to spare the room. Tags overlap only where there is no free
    place left, and as little as possible.

    Args:
        boxes (np.ndarray): Shape (N, 4), xyxy, pixels of the picture.
        sizes (np.ndarray): Shape (N, 2), width and height of the tags.
        frame (tuple[int, int]): Width and height of the picture.

    Returns:
        np.ndarray: Shape (N, 2), left and top of the tags, inside the frame.
    """
    corners = np.zeros((0, 2))
    for box, size in zip(boxes, sizes, strict=True):
        places, placed = _places(box, size, frame), sizes[: len(corners)]
        shared = np.minimum(places[:, None] + size, corners + placed) - np.maximum(places[:, None], corners)
        covered = shared.clip(0).prod(-1).sum(-1)
        corners = np.concatenate([corners, places[[covered.argmin()]]])
    return corners


def is_dashed(region: Region) -> bool:
    """Whether its outline is dashed, as its colour comes a second time."""
    return region.style // len(REGION_COLORS) % 2 == 1


def _style(region: Region) -> tuple[str, str | tuple]:
    """Colour and line style."""
    return REGION_COLORS[region.style % len(REGION_COLORS)], (0, (3, 1.5)) if is_dashed(region) else '-'


def _tag_label(ax: Axes, region: Region, letters: float, room: float) -> Text:
    """The number, with the names if a few letters of them fit into ``room`` pixels; not in its place yet."""
    number, names = str(region.number), ', '.join(region.names)
    text = f'{number}: {names}' if names else number
    label = ax.text(0, 0, text, color=legible_on(_style(region)[0]), weight='bold', zorder=4)
    label.set(fontsize=letters * 72 / ax.figure.dpi, ha='center', va='center_baseline', parse_math=False)
    fit_label(label, room)
    if label.get_text() != text and len(label.get_text()) < len(number) + 6:
        label.set_text(number)
    return label


def _put_tag(label: Text, region: Region, corner: np.ndarray, size: np.ndarray) -> None:
    label.set_position(corner + size / 2)
    label.axes.add_patch(Rectangle(corner, *size, fc=_style(region)[0], ec='black', lw=0.5, zorder=3))


def _places(box: np.ndarray, size: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    """Left tops that a tag may have, the best first, shape (M, 2)."""
    width, height = size
    x0, y0, x1, y1 = box
    inside = np.array([x0, y0, max(x1 - width, x0), max(y1 - height, y0)])
    outside = np.array([x0, y0 - height, max(x1 - width, x0), y1])
    roomy = x1 - x0 > 1.1 * width and y1 - y0 > 2.5 * height
    tracks = (inside, outside) if roomy else (outside, inside)
    limit = np.maximum(np.array(frame) - size, 0)
    grid = np.stack(np.meshgrid(*(np.linspace(0, side, 24) for side in limit)), -1).reshape(-1, 2)
    grid = grid[np.abs(grid - box[:2]).sum(-1).argsort(kind='stable')]
    return np.concatenate([*(_outline(track, height) for track in tracks), grid]).clip(0, limit)


def _outline(box: np.ndarray, step: float) -> np.ndarray:
    """Points along the outline of a box, clockwise from its left top, shape (M, 2)."""
    x0, y0, x1, y1 = box
    xs = np.linspace(x0, x1, max(int((x1 - x0) / step), 1) + 1)
    ys = np.linspace(y0, y1, max(int((y1 - y0) / step), 1) + 1)
    sides = ((xs, y0), (x1, ys), (xs[::-1], y1), (x0, ys[::-1]))
    return np.concatenate([np.stack(np.broadcast_arrays(x, y), axis=-1) for x, y in sides])


def draw_arrow(ax: Axes, x: float, start: float, end: float, letters: float) -> None:
    """Draw an arrow down from (x, start) to (x, end)."""
    points = 72 / ax.figure.dpi
    style = dict(arrowstyle='-|>', color='#666666', shrinkA=0, shrinkB=0)
    style |= dict(lw=max(letters / 12, 1) * points, mutation_scale=0.6 * letters * points)
    ax.annotate('', xy=(x, end), xytext=(x, start), arrowprops=style, annotation_clip=False)


def draw_peak(ax: Axes, x: float, y: float, size: float, edge: float) -> None:
    """Draw a plus of ``size`` pixels with a border of ``edge`` pixels around (x, y)."""
    points = 72 / ax.figure.dpi
    ax.plot([x], [y], 'P', ms=size * points, mfc='#56B4E9', mec='black', mew=edge * points)


def draw_turn(ax: Axes, turn: int, x: float, y: float, radius: float) -> None:
    """Draw a dot with a number around (x, y)."""
    ax.add_patch(Circle((x, y), radius, fc=INK, ec='none'))
    size = (1.35 if turn < 10 else 1.0) * radius * 72 / ax.figure.dpi
    ax.text(x, y, str(turn), color='white', weight='bold', size=size, ha='center', va='center_baseline')


def draw_outcome(ax: Axes, outcome: str, x: float, y: float, radius: float) -> None:
    """Draw the mark of an outcome around (x, y), told by its sign as well as by its colour."""
    color, (sign, size) = OUTCOME_COLORS[outcome], OUTCOME_SIGNS[outcome]
    points = 72 / ax.figure.dpi
    ax.add_patch(Circle((x, y), radius, fc=color, ec='black', lw=radius / 10 * points))
    style = dict(mec=legible_on(color), mfc='none', mew=radius / 3.2 * points, ms=size * radius * points)
    ax.plot([x], [y], marker=sign, solid_capstyle='round', **style)

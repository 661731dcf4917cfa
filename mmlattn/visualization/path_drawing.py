"""Numbered dots joined by arrows: labels in the order in which a decoder emitted them."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Circle

__all__ = ['draw_steps', 'draw_turn']


def draw_steps(ax: Axes, colors: Sequence[str], x: float, y: float, spacing: float, letters: float) -> float:
    """Draw a column of dots, counted from 1, each with an arrow to the next.

    Args:
        ax (Axes): In pixels of the sheet, y downwards.
        colors (Sequence[str]): Of each dot.
        x (float): Left edge.
        y (float): Middle of the first dot.
        spacing (float): From one dot to the next, pixels; more than the size of a dot, ``letters`` and a little.
        letters (float): Height of letters, pixels.

    Returns:
        float: Width of the column, with the space that parts it from a text.
    """
    radius, points = 0.54 * letters, 72 / ax.figure.dpi
    for row, color in enumerate(colors):
        middle = y + row * spacing
        draw_turn(ax, row + 1, color, x + radius, middle, radius)
        if row:
            arrow = dict(arrowstyle='-|>', color='#666666', shrinkA=0, shrinkB=0)
            arrow |= dict(lw=max(letters / 12, 1) * points, mutation_scale=0.6 * letters * points)
            ends = dict(xy=(x + radius, middle - radius), xytext=(x + radius, middle - spacing + radius))
            ax.annotate('', **ends, arrowprops=arrow, annotation_clip=False)
    return 3 * radius


def draw_turn(ax: Axes, turn: int, color: str, x: float, y: float, radius: float) -> None:
    """Draw a dot with a number around (x, y), pixels."""
    ax.add_patch(Circle((x, y), radius, fc=color, ec='none'))
    size = (1.35 if turn < 10 else 1.0) * radius * 72 / ax.figure.dpi
    ax.text(x, y, str(turn), color='white', weight='bold', size=size, ha='center', va='center_baseline')

"""A map of pictures, once for each class: those that have it stand out from all others."""

from collections.abc import Sequence
from math import ceil

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .fonts import drawable_names, find_families
from .palette import OKABE_ITO

#: More panels are too small to read.
MOST_PANELS = 12


def draw_map(
    places: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    shown: Sequence[int],
    title: str,
    font: str | None = None,
) -> Figure:
    """One panel for each class, with the number of its pictures.

    Args:
        places (ndarray): (N, 2).
        labels (ndarray): (N, C), 1 present, 0 absent, -1 unknown, which is drawn as absent.
        classes (Sequence[str]): C names.
        shown (Sequence[int]): Classes to draw, at most :data:`MOST_PANELS`.
        title (str): Set above.
        font (str, optional): As for ``EvidenceVisualizer``.
    """
    families, missing = find_families([*(classes[c] for c in shown), title], font)
    names = drawable_names(classes, missing)
    columns = min(len(shown), 4)
    rows = ceil(len(shown) / columns)
    with matplotlib.rc_context({'font.family': families, 'text.parse_math': False}):
        figure = Figure((3 * columns, 3.1 * rows + 0.4), dpi=130, layout='constrained')
        figure.suptitle(title, fontsize=10)
        for axes, c in zip(figure.subplots(rows, columns, squeeze=False).flat, shown, strict=False):
            own = labels[:, c] == 1
            axes.scatter(*places[~own].T, s=5, color='#C8C8C8', linewidths=0)
            axes.scatter(*places[own].T, s=9, color=OKABE_ITO['blue'], marker='D', linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f'{names[c]} ({int(own.sum())})', fontsize=9)
        for axes in figure.axes[len(shown) :]:
            axes.remove()
        figure.canvas.draw()
    return figure

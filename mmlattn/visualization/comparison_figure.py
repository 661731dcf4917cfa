"""Heads beside each other: mAP of each seed, and mAP over what a training step costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from .fonts import find_families, without_letters
from .palette import INK, OKABE_ITO


@dataclass(frozen=True)
class Bar:
    """A head: its name, mAP of S seeds (S,) in per cent, milliseconds of a training step."""

    name: str
    mean_ap: np.ndarray
    milliseconds: float


def draw_comparison(bars: Sequence[Bar], title: str) -> Figure:
    """Two panels; the first head is what others are compared with.

    Args:
        bars (Sequence[Bar]): Heads in the order of the table.
        title (str): Set above.
    """
    families, missing = find_families([title, *(bar.name for bar in bars)], None)
    with matplotlib.rc_context({'font.family': families, 'font.size': 9, 'text.parse_math': False}):
        height = max(2.6, 0.42 * len(bars) + 1.4)
        figure = Figure((10, height), dpi=130, layout='constrained')
        figure.suptitle(without_letters(title, missing), x=0.01, ha='left', fontsize=9, color=INK)
        seeds, cost = figure.subplots(1, 2)
        names = [without_letters(bar.name, missing) for bar in bars]
        by_value = sorted(range(len(bars)), key=lambda place: bars[place].mean_ap.mean())
        for place, bar in enumerate(bars):
            color = OKABE_ITO['vermillion'] if place == 0 else OKABE_ITO['blue']
            mean = bar.mean_ap.mean()
            seeds.plot(bar.mean_ap, np.full(len(bar.mean_ap), place), 'o', color=color, alpha=0.45, ms=5)
            seeds.plot([mean], [place], '|', color=INK, ms=16, mew=1.6)
            cost.plot([bar.milliseconds], [mean], 'o', color=color, ms=6)
            # Neighbours in height on different sides, so that names of equal heads can be read.
            right = by_value.index(place) % 2 == 0
            where = dict(textcoords='offset points', ha='left' if right else 'right', va='center')
            cost.annotate(
                names[place], (bar.milliseconds, mean), (7 if right else -7, 0), fontsize=8, **where
            )
        seeds.axvline(bars[0].mean_ap.mean(), color='#888888', linewidth=0.8, linestyle=':')
        seeds.set_yticks(range(len(bars)), names)
        seeds.invert_yaxis()
        seeds.margins(y=0.12)
        for axes, heading, x in (
            (seeds, 'mAP of each seed; the line is their mean', 'mAP in %'),
            (
                cost,
                'mAP over the time of a training step',
                'milliseconds, with no backbone where it is frozen',
            ),
        ):
            axes.set_title(heading, loc='left', fontsize=9.5, fontweight='bold', color=INK)
            axes.set_xlabel(x)
            axes.grid(color='#DDDDDD', linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[['top', 'right']].set_visible(False)
        cost.set_ylabel('mAP in %')
        cost.set_xscale('log')
        cost.margins(x=0.25)
    return figure

"""How often classes occur in each split of a data set, and which occur together."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .fonts import drawable_names, find_families
from .palette import INK, OKABE_ITO, legible_on

#: Marks of the splits, in their order; told apart by their shapes too.
_SPLITS = (('blue', 'o'), ('vermillion', 'D'), ('bluish_green', '^'), ('orange', 's'))
#: More names are not legible on one page.
MOST = 120
_ROW, _LETTER = 0.17, 0.075  # inches
_SHADES = matplotlib.colors.LinearSegmentedColormap.from_list(
    'shades', ['#FFFFFF', '#9FCBE8', '#0072B2', '#00263C']
)


def draw_frequencies(
    names: Sequence[str], shares: Mapping[str, np.ndarray], font: str | None = None
) -> Figure:
    """One row for each class, the commonest above, and on it a mark for each split.

    Args:
        names (Sequence[str]): Of C classes.
        shares (Mapping[str, np.ndarray]): For each split (C,): of the pictures where the class is known, the share
            that has it, in [0, 1]; NaN where it is known of none.
        font (str, optional): As for ``EvidenceVisualizer``.
    """
    values = np.array(list(shares.values()))
    order, left_out = _commonest(np.nan_to_num(values[0]))
    values = 100 * values[:, order]
    families, missing = find_families(names, font)
    drawable = drawable_names(names, missing)
    labels = [drawable[c] for c in order]
    with matplotlib.rc_context({'font.family': families, 'text.parse_math': False}):
        size = (5.2 + _LETTER * max(map(len, labels)), 1.3 + _ROW * len(labels))
        figure = Figure(size, dpi=130, layout='constrained')
        axes = figure.add_subplot()
        rows = np.arange(len(labels))
        axes.hlines(
            rows, 0, 1, transform=axes.get_yaxis_transform(), color='#E4E4E4', linewidth=0.5, zorder=0
        )
        positive = values[values > 0]
        # From ten times on, shares are told apart on a logarithmic axis, which has no nought.
        wide = positive.size > 0 and positive.max() >= 10 * positive.min()
        floor = positive.min() / 2 if wide else 0
        for (split, _), row, (color, marker) in zip(shares.items(), values, _SPLITS, strict=False):
            style = dict(
                color=OKABE_ITO[color], marker=marker, linestyle='none', markersize=4.5, clip_on=False
            )
            some = row > 0
            axes.plot(row[some], rows[some], label=split, **style)
            none = row == 0
            axes.plot(np.full(none.sum(), floor), rows[none], markerfacecolor='none', **style)
        axes.set(xscale='log' if wide else 'linear', xlim=(floor, 100 if wide else None))
        axes.set(ylim=(len(labels) - 0.4, -0.6), yticks=rows)
        axes.set_yticklabels(labels, fontsize=8, color=INK)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g} %'))
        axes.tick_params(axis='y', length=0, pad=7)
        axes.tick_params(axis='x', labelsize=8, colors=INK)
        axes.grid(axis='x', color='#E4E4E4', linewidth=0.5)
        axes.spines[['top', 'right', 'left']].set_visible(False)
        hollow = '; hollow at the left edge: in none' if (values == 0).any() else ''
        axes.set_xlabel(f'pictures with the class, of those where it is known{hollow}', fontsize=8, color=INK)
        title = f'How often each class occurs{_left_out(left_out)}'
        axes.set_title(title, loc='left', fontsize=9, fontweight='bold', color=INK, pad=20)
        axes.legend(
            loc='lower left', bbox_to_anchor=(-0.01, 1), ncols=4, frameon=False, fontsize=8, borderpad=0
        )
    return figure


def draw_co_occurrence(
    names: Sequence[str], together: np.ndarray, split: str, font: str | None = None
) -> Figure:
    """Of the pictures with the class of a row, the share that has the class of a column too.

    Args:
        names (Sequence[str]): Of C classes.
        together (np.ndarray): Shape (C, C), pictures with both; on the diagonal those with one.
        split (str): What the heading calls the data.
        font (str, optional): As for ``EvidenceVisualizer``.
    """
    counts = np.diagonal(together)
    order, left_out = _commonest(counts)
    share = 100 * together[np.ix_(order, order)] / np.maximum(counts[order], 1)[:, None]
    np.fill_diagonal(share, np.nan)
    families, missing = find_families(names, font)
    drawable = drawable_names(names, missing)
    labels = [drawable[c] for c in order]
    few = len(labels) <= 25
    cell = 0.42 if few else _ROW
    with matplotlib.rc_context({'font.family': families, 'text.parse_math': False}):
        margin = 0.5 + _LETTER * max(map(len, labels))
        side = cell * len(labels)
        figure = Figure((max(margin + side + 1.4, 5.6), margin + side + 0.7), dpi=130, layout='constrained')
        axes = figure.add_subplot()
        shades = _SHADES.with_extremes(bad='#EDEDED')
        image = axes.imshow(share, cmap=shades, vmin=0, vmax=100, interpolation='nearest')
        places = np.arange(len(labels))
        axes.set_xticks(places, labels, rotation=90, fontsize=8, color=INK)
        numbered = [f'{label} ({counts[c]})' for label, c in zip(labels, order, strict=True)]
        axes.set_yticks(places, numbered, fontsize=8, color=INK)
        axes.tick_params(length=0)
        axes.set_xticks(places[1:] - 0.5, minor=True)
        axes.set_yticks(places[1:] - 0.5, minor=True)
        axes.grid(which='minor', color='white', linewidth=0.4)
        axes.tick_params(which='minor', length=0)
        axes.spines[:].set_visible(False)
        for row, column in np.argwhere(share >= 0.5) if few else ():
            value = share[row, column]
            ground = matplotlib.colors.to_hex(shades(value / 100))
            axes.text(
                column, row, f'{value:.0f}', ha='center', va='center', fontsize=7, color=legible_on(ground)
            )
        bar = figure.colorbar(image, ax=axes, shrink=min(1, 3 / side), aspect=18, pad=0.02, panchor=(0, 1))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g} %'))
        bar.ax.tick_params(labelsize=8, colors=INK, length=0)
        bar.outline.set_visible(False)
        title = f'{split}: of the pictures with the class of a row (their number),\nthe share with that of a column'
        figure.suptitle(
            title + _left_out(left_out), x=0.01, ha='left', fontsize=9, fontweight='bold', color=INK
        )
    return figure


def _commonest(counts: np.ndarray) -> tuple[np.ndarray, int]:
    """The commonest classes, at most ``MOST``, and the number of the others."""
    order = np.argsort(-counts, kind='stable')
    return order[:MOST], max(len(order) - MOST, 0)


def _left_out(number: int) -> str:
    return f' (the {MOST} commonest; {number} more)' if number else ''

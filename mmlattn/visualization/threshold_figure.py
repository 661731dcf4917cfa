"""What was chosen for scores and labels, and why: sweeps, precision and recall, reliability, candidates."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlattn.evaluation.functional.calibration import Reliability
from mmlattn.evaluation.functional.thresholds import sweep

from .fonts import find_families, font_family, without_letters
from .palette import INK, OKABE_ITO, REGION_COLORS

MOST_CLASSES = len(REGION_COLORS)


@dataclass(frozen=True)
class Candidate:
    """A dot: what it would give, in [0, 1], how far that is from the first one's, and the spread of that."""

    name: str
    value: float
    spread: float
    taken: bool


def telling_classes(positives: np.ndarray, count: int = 6) -> list[int]:
    """Classes from the most frequent to the rarest that has a positive, evenly spaced in that order."""
    order = [c for c in np.argsort(-positives, kind='stable').tolist() if positives[c] > 0]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[place] for place in dict.fromkeys(places.tolist())]


def draw_thresholds(
    title: str,
    probabilities: np.ndarray,
    targets: np.ndarray,
    thresholds: np.ndarray,
    classes: Sequence[str],
    shown: Sequence[int],
    reliabilities: Mapping[str, Reliability],
    candidates: Sequence[Candidate],
    font: str | None = None,
) -> Figure:
    """Four panels.

    Args:
        title (str): Set above.
        probabilities (ndarray): (N, C), as they are compared with the thresholds.
        targets (ndarray): (N, C), 1 present, 0 absent, -1 unknown.
        thresholds (ndarray): (C,); infinity is not drawn.
        classes (Sequence[str]): C names.
        shown (Sequence[int]): Classes to draw, at most :data:`MOST_CLASSES`.
        reliabilities (Mapping[str, Reliability]): Before and after, by name.
        candidates (Sequence[Candidate]): Compared out of fold.
        font (str, optional): As for ``EvidenceVisualizer``.
    """
    with _titled_figure((11, 8.6), title, [classes[c] for c in shown], font) as (figure, names):
        (sweeps, rates), (reliable, bars) = figure.subplots(2, 2)
        swept = sweep(probabilities, targets)
        for number, (c, name) in enumerate(zip(shown, names, strict=True)):
            style = dict(color=REGION_COLORS[number], linewidth=1.4)
            label = f'{name} ({int(swept.positives[c])})'
            cuts = swept.cuts[:, c]
            scores, f1 = swept.scores[cuts, c], swept.f1()[cuts, c]
            # Down to 0, below the lowest score: all pictures are predicted there.
            sweeps.step(
                np.hstack([1, scores, 0]), np.hstack([0, f1, f1[-1:]]), where='post', label=label, **style
            )
            recall, precision = swept.recall()[cuts, c], swept.precision()[cuts, c]
            rates.plot(recall, precision, **style)
            taken = np.flatnonzero(scores >= thresholds[c])
            if len(taken):
                mark = dict(color=style['color'], marker='o', markeredgecolor=INK, zorder=3)
                sweeps.plot(thresholds[c], f1[taken[-1]], **mark)
                rates.plot(recall[taken[-1]], precision[taken[-1]], **mark)
        some = f' ({len(shown)} of {len(classes)} classes)' if len(shown) < len(classes) else ''
        _name(sweeps, f'F1 over the threshold{some}', 'threshold', 'F1')
        style = dict(fontsize=8, loc='lower center', ncols=2, framealpha=0.9, edgecolor='none')
        sweeps.legend(title='class (positives)', **style)
        _name(rates, 'Precision over recall; the dot is what was chosen', 'recall', 'precision')
        _draw_reliability(reliable, reliabilities)
        _draw_candidates(bars, candidates)
    return figure


def draw_reliability(title: str, reliabilities: Mapping[str, Reliability], font: str | None = None) -> Figure:
    """The reliability panel alone, for a model of a single label; arguments as for :func:`draw_thresholds`."""
    with _titled_figure((6, 5), title, (), font) as (figure, _):
        _draw_reliability(figure.subplots(), reliabilities)
    return figure


@contextmanager
def _titled_figure(
    size: tuple[float, float], title: str, names: Sequence[str], font: str | None
) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw into meanwhile, in fonts that have the letters, and the names with ? for what none has."""
    families, missing = find_families([title, *names], None if font is None else font_family(font))
    with matplotlib.rc_context({'font.family': families, 'font.size': 9, 'text.parse_math': False}):
        figure = Figure(size, dpi=130, layout='constrained')
        figure.suptitle(without_letters(title, missing), x=0.01, ha='left', fontsize=11, fontweight='bold')
        yield figure, [without_letters(name, missing) for name in names]


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc='left', fontsize=9.5, fontweight='bold', color=INK)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.spines[['top', 'right']].set_visible(False)


def _draw_reliability(axes: Axes, reliabilities: Mapping[str, Reliability]) -> None:
    axes.plot([0, 1], [0, 1], color='#888888', linewidth=0.8, linestyle=':')
    colors = (OKABE_ITO['vermillion'], OKABE_ITO['blue'])
    for (name, found), color, marker in zip(reliabilities.items(), colors, 'sD', strict=False):
        there = found.count > 0
        # The more labels, the larger.
        sizes = 12 + 60 * np.sqrt(found.count[there] / found.count.max())
        confidence, frequency = found.confidence[there], found.frequency[there]
        axes.plot(confidence, frequency, color=color, linewidth=1)
        axes.scatter(confidence, frequency, sizes, color=color, marker=marker, alpha=0.75, label=name)
    _name(
        axes,
        'Reliability: on the dotted line probabilities mean what they say',
        'mean probability',
        'share that is present',
    )
    legend = axes.legend(fontsize=8, frameon=False, loc='upper left')
    for handle in legend.legend_handles:
        handle.set_sizes([30])


def _draw_candidates(axes: Axes, candidates: Sequence[Candidate]) -> None:
    places = np.arange(len(candidates))
    colors = [OKABE_ITO['blue'] if c.taken else '#BBBBBB' for c in candidates]
    values = [100 * c.value for c in candidates]
    axes.scatter(values, places, 60, color=colors, edgecolor=INK, linewidth=0.6, zorder=3)
    axes.errorbar(
        values,
        places,
        xerr=[100 * c.spread for c in candidates],
        fmt='none',
        color=INK,
        linewidth=1,
        capsize=2,
    )
    low, high = min(values), max(values)
    margin = max(high - low, 1) / 2
    axes.set(yticks=places, yticklabels=[c.name for c in candidates])
    axes.invert_yaxis()
    axes.set_xlim(low - margin, high + margin)
    axes.grid(axis='x', color='#DDDDDD', linewidth=0.6)
    axes.set_axisbelow(True)
    for place, candidate, value in zip(places, candidates, values, strict=True):
        end = value + 100 * candidate.spread
        axes.annotate(
            f'{value:.1f}', (end, place), (7, 0), textcoords='offset points', va='center', fontsize=8
        )
    axes.set_title(
        'CF1 on held-out folds in %; blue is taken', loc='left', fontsize=9.5, fontweight='bold', color=INK
    )
    axes.set_xlabel('the line is the spread of the distance to the first one')
    axes.spines[['top', 'right']].set_visible(False)

"""What data sets hold, as tables for a console."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .findings import Finding
from .splits import Split

#: Of more classes the commonest and the rarest are shown.
MOST, ENDS = 120, 25
_MARKS = {'class-without-example': 'none', 'class-rare': 'rare', 'class-nearly-always': 'nearly always'}


def headline(split: Split) -> str:
    """The numbers of a split in one line."""
    unlabelled, unknown = int((split.labels_each == 0).sum()), int(split.unknowns.sum())
    return (
        f'{split.name}: {len(split)} images, {unlabelled} without a label, '
        f'{split.labels_each.mean() if len(split) else 0:.2f} labels an image, {int(split.boxes.sum())} boxes'
        + (
            f', {unknown / max(len(split) * len(split.classes), 1):.1%} of the labels unknown'
            if unknown
            else ''
        )
    )


def class_table(splits: Sequence[Split], findings: Iterable[Finding] = ()) -> Table:
    """One row for each class: positives in each split, unknown labels and boxes if any, and what is odd."""
    names = list(dict.fromkeys(name for split in splits for name in split.classes))
    numbers = [{name: c for c, name in enumerate(split.classes)} for split in splits]
    marks = defaultdict(list)
    for finding in findings:
        for name in finding.classes if finding.code in _MARKS else ():
            marks[name].append(f'{finding.split}: {_MARKS[finding.code]}')
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column('class', overflow='fold')
    columns: list[tuple[dict, np.ndarray]] = []
    for split, number in zip(splits, numbers, strict=True):
        for title, counts in (('', split.positives), ('unknown', split.unknowns), ('boxes', split.boxes)):
            if not title or counts.any():
                table.add_column(f'{split.name}\n{title}', justify='right', no_wrap=True)
                columns.append((number, counts))
    if marks:
        table.add_column('', overflow='fold')
    for name in _shown(names, splits):
        cells = [str(counts[number[name]]) if name in number else '-' for number, counts in columns]
        table.add_row(name, *cells, *([', '.join(marks[name])] if marks else []))
    if len(names) > MOST:
        table.caption = f'{ENDS} commonest and {ENDS} rarest of {len(names)} classes; --json FILE has all'
    return table


def _shown(names: list[str], splits: Sequence[Split]) -> list[str]:
    if len(names) <= MOST:
        return names
    first = dict(zip(splits[0].classes, splits[0].positives.tolist(), strict=True))
    order = sorted(names, key=lambda name: -first.get(name, 0))
    return order[:ENDS] + order[-ENDS:]

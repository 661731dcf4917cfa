"""The page of errors: what :func:`findings.find` found, in words, tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmlattn.evaluation.functional import errors
from mmlattn.evaluation.functional.multi_label import LabelCounts, mean_defined, precision_recall_f1

from ..legend import OUTCOME_TEXTS
from .findings import Findings, Pair, Suspect, Tested
from .pictures import PagePicture
from .render import render
from .tables import Column, Table, heat_class, make_table, percent

#: A matrix of all confusions is drawn up to so many classes; labels of a picture are listed up to so many.
MOST_IN_MATRIX, MOST_LINES = 40, 12
TITLES = dict(
    classes='Classes',
    pairs='Pairs',
    labels='Probable label errors',
    worst='Worst pictures',
    doubtful='Most doubtful',
)
CLASS_COLUMNS = (
    Column('class'),
    Column('TP', 'predicted and present'),
    Column('FP', 'predicted, not present', heat='bad'),
    Column('FN', 'present, not predicted', heat='bad'),
    Column('TN', 'neither'),
    Column('unknown', 'not known whether present'),
    Column('precision', 'TP / (TP + FP), percent', share=True, heat='good'),
    Column('recall', 'TP / (TP + FN), percent', share=True, heat='good'),
    Column('F1', '2 TP / (2 TP + FP + FN), percent', share=True, heat='good'),
    Column('AP', 'average precision, percent; it knows no thresholds', share=True, heat='good'),
)


@dataclass(frozen=True)
class Line:
    """A picture of a card: its number, heading, what is said of it, its labels, and the classes it is about."""

    number: int
    title: str
    says: str
    lines: tuple[tuple[str, str], ...]
    names: tuple[str, ...]


def errors_page(
    tested: Tested,
    found: Findings,
    store: Mapping[str, PagePicture],
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    thresholds: Sequence[float] | None = None,
    version: str,
) -> str:
    """The text of the page.

    Args:
        tested (Tested): What was tested.
        found (Findings): What is shown of it.
        store (Mapping): Pictures by their key: ``p3`` is picture 3, small, and ``s3`` its evidence; what is not there
            is told without a picture.
        title (str): Of the page.
        facts (Sequence): (name, value) of what was tested how, such as the thresholds.
        notes (Sequence[str]): What else a reader must know.
        thresholds (Sequence[float], optional): Of the C classes, where labels were predicted by such; infinity is
            never reached.
        version (str): Of mmlattn.
    """
    names = tidy_names(tested.classes)
    exclusive = tested.exclusive
    tables = errors.class_tables(tested.predicted, tested.targets)
    rates = errors.class_columns(tested.scores, tested.predicted, tested.targets)
    return render(
        'errors.html.j2',
        title=title,
        version=version,
        facts=facts,
        notes=notes,
        numbers=_numbers(tested, tables, rates),
        marks=[(o, text) for o, text in OUTCOME_TEXTS.items() if o != 'ignored' or tables.unknown.any()],
        sections=TITLES | (dict(pairs='Confusions') if exclusive else {}),
        filter_names=names,
        titles=tested.names,
        store=store,
        class_table=_class_table(names, tables, rates, thresholds),
        class_items=_class_items(tested, found, names, tables),
        pair_tables=_pair_tables(found, names, exclusive),
        matrix=_matrix(tested) if exclusive and len(names) <= MOST_IN_MATRIX else None,
        suspects=[
            (_SUSPECTS[kind], f'{found.num_suspects[kind]:,}', _suspects(tested, suspects, names))
            for kind, suspects in found.suspects.items()
        ],
        worst=[_line(tested, names, n, f'loss {tested.losses[n]:.3f}') for n in found.worst],
        doubtful=[_line(tested, names, n, f'{tested.doubts[n]:.2f} bits') for n in found.doubtful],
        loss_says=_LOSS[exclusive],
        doubt_says=_DOUBT[exclusive],
    )


_SUSPECTS = dict(
    unlisted='Not labelled, and the model is sure that it is there',
    untrue='Labelled, and the model is sure that it is not there',
    instead='Labelled, and the model is sure of another class',
)
_LOSS = {
    False: 'the mean cross-entropy of its known labels, scores taken as probabilities; it knows no thresholds.',
    True: 'minus the logarithm of the score of the true class.',
}
_DOUBT = {
    False: 'the sum over classes, in bits, which is highest where scores are 0.5.',
    True: 'in bits, 0 where one class has all.',
}


def tidy_names(classes: Sequence[str]) -> list[str]:
    """Names in one line; a class without letters goes by its number."""
    return [' '.join(str(name).split()) or f'class {number}' for number, name in enumerate(classes)]


def _numbers(tested: Tested, tables, rates) -> list[tuple[str, str]]:
    counts = LabelCounts(tables.tp, tables.tp + tables.fp, tables.tp + tables.fn)
    numbers = [('pictures', f'{len(tested.names):,}'), ('classes', f'{len(tested.classes):,}')]
    if tested.exclusive:
        numbers.append(('accuracy, %', percent(tables.tp.sum() / len(tested.names))))
    else:
        summary = precision_recall_f1(counts)
        numbers += [(f'{name}, %', percent(summary[name])) for name in ('CF1', 'OF1')]
    numbers.append(('mAP, %', percent(mean_defined(rates['AP']))))
    numbers += [('wrongly predicted', f'{tables.fp.sum():,}'), ('missed', f'{tables.fn.sum():,}')]
    if tables.unknown.any():
        numbers.append(('unknown labels', f'{tables.unknown.sum():,}'))
    return numbers


def _class_table(names: Sequence[str], tables, rates, thresholds: Sequence[float] | None) -> Table:
    columns, titles = [*tables, *(rates[name] for name in ('precision', 'recall', 'F1', 'AP'))], CLASS_COLUMNS
    if thresholds is not None:
        reached = np.asarray(thresholds, np.float64)
        columns.append(np.where(np.isinf(reached), np.nan, reached))
        titles = (*titles, Column('threshold', 'predicted from this score on; – is never reached'))
    values = [(name, *(column[c].item() for column in columns)) for c, name in enumerate(names)]
    links = [f'#c{c}' for c in range(len(names))]
    return make_table(titles, values, [(name,) for name in names], links=links)


def _class_items(tested: Tested, found: Findings, names: Sequence[str], tables) -> list[dict]:
    def examples(pictures: Sequence[int], label: int) -> list[dict]:
        return [dict(number=n, score=f'{tested.scores[n, label]:.2f}') for n in pictures]

    items = []
    for c, name in enumerate(names):
        counts = {key: getattr(tables, key)[c].item() for key in tables._fields}
        known = max(sum(counts.values()) - counts['unknown'], 1)
        grounds = {
            key: heat_class(counts[key] / known, 'good' if key in ('tp', 'tn') else 'bad')
            for key in ('tp', 'fp', 'fn', 'tn')
        }
        shown = dict(wrong=examples(found.wrong[c], c), missed=examples(found.missed[c], c))
        items.append(dict(name=name, grounds=grounds, **counts, **shown))
    return items


def _pair_tables(found: Findings, names: Sequence[str], exclusive: bool) -> list[dict]:
    mistaken = dict(
        title='One taken for another',
        says='The first is present and not predicted, the second is predicted and absent.',
        table=_pairs(
            found.mistaken,
            names,
            found.num_pairs['mistaken'],
            dict(a=Column('present, missed'), b=Column('predicted, absent')),
            dict(count=Column('pictures', heat='bad')),
        ),
    )
    if exclusive:
        return [mistaken]
    both = dict(a=Column('A'), b=Column('B'))
    added = dict(
        predicted=Column('predicted together'),
        wrong=Column('of these wrong', 'not both are present', heat='bad'),
        only_a=Column('only A present'),
        only_b=Column('only B present'),
        neither=Column('neither present'),
    )
    dropped = dict(
        present=Column('present together'),
        wrong=Column('of these incomplete', 'not both are predicted', heat='bad'),
        only_a=Column('only A predicted'),
        only_b=Column('only B predicted'),
        neither=Column('neither predicted'),
    )
    return [
        mistaken,
        dict(
            title='Predicted together, not present together',
            says='What the model adds because of what else it sees, or invents.',
            table=_pairs(found.added, names, found.num_pairs['added'], both, added),
        ),
        dict(
            title='Present together, not predicted together',
            says='What the model misses beside something else.',
            table=_pairs(found.dropped, names, found.num_pairs['dropped'], both, dropped),
        ),
    ]


def _pairs(
    pairs: Sequence[Pair],
    names: Sequence[str],
    total: int,
    classes: Mapping[str, Column],
    counts: Mapping[str, Column],
) -> Table:
    of = [(names[pair.a], names[pair.b]) for pair in pairs]
    values = [(*both, *(pair.counts[key] for key in counts)) for both, pair in zip(of, pairs, strict=True)]
    columns = [*classes.values(), *counts.values()]
    return make_table(columns, values, of, pictures=[pair.pictures for pair in pairs], total=total)


def _matrix(tested: Tested) -> list[list[tuple[int, str]]]:
    truth, answers = tested.targets.argmax(axis=1), tested.predicted.argmax(axis=1)
    counts = errors.confusion_matrix(truth, answers, len(tested.classes))
    totals = np.maximum(counts.sum(axis=1), 1)
    return [
        [
            (int(count), heat_class(count / totals[row], 'good' if row == column else 'bad'))
            for column, count in enumerate(line)
        ]
        for row, line in enumerate(counts)
    ]


def _suspects(tested: Tested, suspects: Sequence[Suspect], names: Sequence[str]) -> list[Line]:
    lines = []
    for suspect in suspects:
        row, label, instead = suspect.picture, suspect.label, suspect.instead
        score, about = tested.scores[row, label], [label]
        if instead is not None:
            other = tested.scores[row, instead]
            says = f'labelled {names[label]} ({score:.2f}): is it {names[instead]} ({other:.2f})?'
            about.append(instead)
        elif tested.targets[row, label] == 1:
            says = f'labelled {names[label]}, score {score:.2f}: is it there?'
        else:
            says = f'not labelled {names[label]}, score {score:.2f}: is it there after all?'
        lines.append(_line(tested, names, row, says, [names[c] for c in about]))
    return lines


def _line(
    tested: Tested, names: Sequence[str], row: int, says: str, about: Sequence[str] | None = None
) -> Line:
    """A picture with its labels, those predicted and those missed, best score first."""
    predicted, targets = tested.predicted[row], tested.targets[row]
    told = np.flatnonzero(predicted | (targets == 1))
    told = told[np.argsort(-tested.scores[row, told], kind='stable')]
    lines = []
    for c in told:
        outcome = {1: 'correct', 0: 'wrong', -1: 'ignored'}[int(targets[c])] if predicted[c] else 'missed'
        lines.append((outcome, f'{names[c]} {tested.scores[row, c]:.2f}'))
    return Line(
        row,
        tested.names[row],
        says,
        tuple(lines[:MOST_LINES]),
        tuple(names[c] for c in told) if about is None else tuple(about),
    )

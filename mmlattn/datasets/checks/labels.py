"""What is wrong with labels, seen in the items alone; a second for 120,000 pictures with 80 classes."""

from collections.abc import Mapping, Sequence
from itertools import combinations, zip_longest

import numpy as np

from ..annotation_files import some
from .findings import Finding
from .splits import Split

#: A class in more than this share of the pictures where it is known is nearly constant.
NEARLY_ALL = 0.95
#: So is one in less than this share, or, where the classes are so many, a tenth of an even share.
HARDLY_ANY = 0.001
#: Fewer positives than these teach little, and a score over them says little.
FEW = 5
_NAMES = 6


def check_split(split: Split) -> list[Finding]:
    """What is wrong with the labels of a split by itself."""
    if not len(split):
        return [_about(split, 'error', 'no-pictures', 'has no pictures: set ann_file, or its filters')]
    found = [*_stray(split), *_repeated(split)]
    if not split.present.nnz:
        message = 'no picture has a label: set metainfo.classes to the names in use'
        return [*found, _about(split, 'error', 'no-labels', message)]
    return [*found, *_without_example(split), *_nearly_constant(split)]


def check_between(splits: Sequence[Split]) -> list[Finding]:
    """What is wrong with splits side by side, by the paths and groups of their pictures."""
    found = _class_names([split for split in splits if split.named])
    for first, second in combinations(splits, 2):
        found += _shared_pictures(first, second)
        found += _shared_groups(first, second)
    return found + contradictions(splits, [split.samples for split in splits], 'listed twice')


def check_class_count(split: Split, told: Mapping[str, int | None]) -> list[Finding]:
    """Where settings of the model, by their names, tell another number of classes than the data."""
    count = len(split.classes)
    return [
        Finding(
            'error',
            'class-count',
            split.name,
            f'{key} is {number} but the {split.name} data set has {count} classes: set {key}={count}',
        )
        for key, number in told.items()
        if split.named and number not in (None, count)
    ]


def _about(split: Split, severity: str, code: str, message: str, files=(), classes=()) -> Finding:
    return Finding(severity, code, split.name, message, tuple(files), tuple(classes))


def _named(split: Split, which: np.ndarray) -> list[str]:
    return [split.classes[c] for c in np.flatnonzero(which)]


def _counted(split: Split, which: np.ndarray) -> list[str]:
    """Classes with their positives, the fewest first."""
    order = sorted(np.flatnonzero(which).tolist(), key=lambda c: split.positives[c])
    return [f'{split.classes[c]} ({split.positives[c]})' for c in order]


def _of_all(split: Split, which: np.ndarray) -> str:
    return f'{int(which.sum())} of {len(split.classes)} classes'


def _stray(split: Split) -> list[Finding]:
    if not split.stray:
        return []
    path, labels = next(iter(split.stray.items()))
    message = (
        f'{len(split.stray)} pictures have labels outside of 0 to {len(split.classes) - 1}, first {path}: {labels}: '
        'mend the annotations, or name all classes in metainfo.classes'
    )
    return [_about(split, 'error', 'label-out-of-range', message, split.stray)]


def _repeated(split: Split) -> list[Finding]:
    seen, twice = set(), {}
    for path, sample in zip(split.paths, split.samples, strict=True):
        if sample is not None and sample in seen:
            twice[path] = None
        seen.add(sample)
    if not twice:
        return []
    message = (
        f'{len(twice)} pictures are listed more than once, first {next(iter(twice))}: each counts that often'
    )
    return [_about(split, 'warning', 'picture-listed-twice', message, twice)]


def _without_example(split: Split) -> list[Finding]:
    none = split.positives == 0
    if not none.any():
        return []
    names = _named(split, none)
    effect = (
        'a model learns never to predict them: leave them out of metainfo.classes, or add pictures'
        if split.name == 'train'
        else 'their scores are not defined, and no threshold can be chosen for them'
    )
    message = f'{_of_all(split, none)} have no positive: {some(names, _NAMES)}: {effect}'
    return [_about(split, 'warning', 'class-without-example', message, classes=names)]


def _nearly_constant(split: Split) -> list[Finding]:
    share = np.nan_to_num(split.shares)
    found = []
    often = (share > NEARLY_ALL) & (split.positives > 0)
    if often.any():
        names = _named(split, often)
        message = (
            f'{_of_all(split, often)} are in more than {NEARLY_ALL:.0%} of the pictures where they are known: '
            f'{some(names, _NAMES)}: always to say yes scores as well; look whether negatives are labelled'
        )
        found.append(_about(split, 'warning', 'class-nearly-always', message, classes=names))
    least = min(HARDLY_ANY, 0.1 / max(len(split.classes), 1))
    rare = (split.positives > 0) & ~often & ((share < least) | (split.positives < FEW))
    if rare.any():
        why = f'have fewer than {FEW} positives'
        if (split.positives[rare] >= FEW).any():
            why += f', or are in less than {100 * least:.2g} % of the pictures'
        few = some(_counted(split, rare), _NAMES)
        effect = 'little to learn from' if split.name == 'train' else 'a score over so few says little'
        message = f'{_of_all(split, rare)} {why}: {few}: {effect}'
        found.append(_about(split, 'warning', 'class-rare', message, classes=_named(split, rare)))
    return found


def _class_names(splits: Sequence[Split]) -> list[Finding]:
    """Where the classes of a split differ from those of the first one."""
    found = []
    first, *others = splits or [None]
    for other in others:
        for c, (a, b) in enumerate(zip_longest(first.classes, other.classes, fillvalue='missing')):
            if a != b:
                message = (
                    f'the classes of {first.name} and {other.name} differ: class {c} is {a} in {first.name} and {b} '
                    f'in {other.name}: give both the same metainfo=dict(classes=...)'
                )
                found.append(Finding('error', 'class-names', f'{first.name}+{other.name}', message))
                break
    return found


def _shared_pictures(first: Split, second: Split) -> list[Finding]:
    theirs = set(second.places) - {None}
    shared = sorted({path for path, place in zip(first.paths, first.places, strict=True) if place in theirs})
    if not shared:
        return []
    both = f'{first.name}+{second.name}'
    severity, effect = effect_of_sharing(first.name, second.name)
    message = f'{len(shared)} pictures of {first.name} are in {second.name} too, first {shared[0]}: {effect}'
    return [Finding(severity, 'shared-picture', both, message, tuple(shared))]


def effect_of_sharing(first: str, second: str) -> tuple[str, str]:
    """How bad it is that two splits share pictures, and why."""
    if 'train' in (first, second):
        tested = second if first == 'train' else first
        return (
            'warning',
            f'scores of {tested} say nothing of new pictures; set another ann_file or split in one of them, or take '
            'these out of one',
        )
    return (
        'note',
        f'what is chosen on {first}, as the best checkpoint or thresholds, is not tested by {second}',
    )


def _shared_groups(first: Split, second: Split) -> list[Finding]:
    """Groups in both, by pictures that are not themselves in both."""
    shared = (set(first.groups) & set(second.groups)) - {None}
    if not shared:
        return []
    common = set(first.places) & set(second.places) - {None}
    sides = []
    for split in (first, second):
        rows = zip(split.paths, split.places, split.groups, strict=True)
        sides.append({g: path for path, place, g in rows if g in shared and place not in common})
    groups = sorted(sides[0].keys() & sides[1].keys(), key=str)
    if not groups:
        return []
    severity, effect = effect_of_sharing(first.name, second.name)
    message = (
        f'{len(groups)} groups have pictures in {first.name} and in {second.name}, first {groups[0]} with '
        f'{sides[0][groups[0]]} and {sides[1][groups[0]]}: {effect}'
    )
    files = tuple(side[group] for group in groups for side in sides)
    return [Finding(severity, 'shared-group', f'{first.name}+{second.name}', message, files)]


def contradictions(splits: Sequence[Split], identities: Sequence[Sequence], how: str) -> list[Finding]:
    """Pictures that are the same and of which one has a class that another one does not have.

    Args:
        splits (Sequence[Split]): Compared where their classes are the same as those of the first.
        identities (Sequence[Sequence]): For each split N hashable values, equal for the same picture; None for what
            is not compared.
        how (str): What makes them the same.
    """
    alike = [split.classes == splits[0].classes for split in splits]
    seen, again = set(), set()
    for ids, compared in zip(identities, alike, strict=True):
        for identity in ids if compared else ():
            (again if identity in seen else seen).add(identity)
    same = {}
    for split, ids, compared in zip(splits, identities, alike, strict=True):
        for row, identity in enumerate(ids if compared and again else ()):
            if identity in again and identity is not None:
                same.setdefault(identity, []).append((split, row))
    return [finding for members in same.values() for finding in _contradiction(members, how)]


def _row(matrix, row: int) -> set[int]:
    return set(matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]].tolist())


def _contradiction(members: Sequence[tuple[Split, int]], how: str) -> list[Finding]:
    present = [_row(split.present, row) for split, row in members]
    told = [yes | _row(split.unknown, row) for yes, (split, row) in zip(present, members, strict=True)]
    differ = sorted(set().union(*present) - set.intersection(*told))
    if not differ:
        return []
    names = [members[0][0].classes[c] for c in differ]
    files = list(dict.fromkeys(split.paths[row] for split, row in members))
    where = '+'.join(dict.fromkeys(split.name for split, _ in members))
    message = (
        f'{" = ".join(files[:2])} ({how}) has {some(names, _NAMES)} in one place and not in another: one of the '
        'label sets is wrong'
    )
    return [Finding('warning', 'contradicting-labels', where, message, tuple(files), tuple(names))]

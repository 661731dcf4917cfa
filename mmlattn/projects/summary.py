"""What is said of the data of a project before it is trained on."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmlattn.datasets.annotation_files import some

from .splitting import SPLITS

_MOST_CLASSES = 40


def class_table(classes: Sequence[str], labels: np.ndarray, split: np.ndarray) -> list[str]:
    """How many pictures have each class, in all and in each split, the most frequent first.

    Args:
        classes (Sequence[str]): C names.
        labels (np.ndarray): (N, C), 1 present, 0 absent, -1 unknown.
        split (np.ndarray): (N,), indices of ``SPLITS``.
    """
    used = [number for number in range(len(SPLITS)) if (split == number).any()]
    present, unknown = labels == 1, (labels == -1).sum(axis=0)
    counts = np.column_stack(
        [present.sum(axis=0), *(present[split == number].sum(axis=0) for number in used), unknown]
    )
    heads = ['pictures', *(SPLITS[number] for number in used), *(['unknown'] if unknown.any() else [])]
    order = np.argsort(-counts[:, 0], kind='stable')[:_MOST_CLASSES]
    width = max(5, *(len(classes[number]) for number in order))
    lines = [f'{"class":{width}}' + ''.join(f'{head:>10}' for head in heads)]
    for number in order:
        lines.append(f'{classes[number]:{width}}' + ''.join(f'{n:10}' for n in counts[number, : len(heads)]))
    if len(order) < len(classes):
        lines.append(f'... and {len(classes) - len(order)} classes with fewer pictures')
    return lines


def facts(labels: np.ndarray, sizes: np.ndarray) -> str:
    """One line on labels, (N, C), and sizes, (N, 2)."""
    short, present = sizes.min(axis=1), (labels == 1).sum(axis=1)
    return (
        f'{present.mean():.2f} labels a picture, {int((present == 0).sum())} pictures without any; short sides of '
        f'{short.min()} to {short.max()} pixels, half of them {int(np.median(short))} or more'
    )


def rare_notes(classes: Sequence[str], labels: np.ndarray, split: np.ndarray) -> list[str]:
    """Which classes a split has no example of, and what that means."""
    notes = []
    said = {
        'train': 'can not be learnt: add pictures of them',
        'val': 'have no threshold of their own and do not count in validation',
        'test': 'can not be judged in the test',
    }
    for number, name in enumerate(SPLITS):
        present = (labels[split == number] == 1).any(axis=0)
        missing = [classes[c] for c in np.flatnonzero(~present)]
        if missing and (split == number).any():
            notes.append(f'{len(missing)} of {len(classes)} classes have no picture in {name} and {said[name]}: '
                         f'{some(missing)}')  # fmt: skip
    return notes


def torn(ties: Sequence, split: np.ndarray) -> list:
    """The entries of ``ties``, (N,), that pictures of different splits share."""
    splits_of: dict = {}
    for entry, number in zip(ties, split.tolist(), strict=True):
        if entry is not None:
            splits_of.setdefault(entry, set()).add(number)
    return [entry for entry, numbers in splits_of.items() if len(numbers) > 1]


def copy_notes(digests: Sequence[bytes | None], labels: np.ndarray, images: Sequence[str]) -> list[str]:
    """How many files are there more than once, and whether their labels agree."""
    places: dict[bytes, list[int]] = {}
    for number, digest in enumerate(digests):
        if digest is not None:
            places.setdefault(digest, []).append(number)
    if not places:
        return []
    copies = sum(map(len, places.values())) - len(places)
    notes = [f'{copies} pictures are copies of others, byte for byte, and stay in one split with them']
    differ = [same for same in places.values() if (labels[same] != labels[same[0]]).any()]
    if differ:
        first = ' and '.join(images[number] for number in differ[0][:2])
        notes.append(
            f'{len(differ)} pictures are there again with other labels, first {first}: see which are right'
        )
    return notes


def group_notes(groups: Sequence[str | None] | None, split: np.ndarray) -> list[str]:
    """How many groups there are, and the largest, where none is torn apart."""
    numbers = Counter(group for group in groups or () if group is not None)
    if not numbers or torn(groups, split):
        return []
    ((largest, most),) = numbers.most_common(1)
    return [f'{len(numbers)} groups, the largest is {largest!r} with {most} pictures; none is split']

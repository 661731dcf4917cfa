"""Pictures that are the same file, the same pixels, or nearly the same, within and across splits.

Same files and pixels go by a digest. Nearly the same are two whose fingerprints, a perceptual hash of 64 bits, differ
in at most 6 bits, and whose thumbnails are as good as equal: a picture saved anew, resized or recoloured a bit, but
not one that is mirrored, turned or cut out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .findings import Finding
from .labels import contradictions, effect_of_sharing
from .pictures import PictureTable
from .splits import Split

#: Bits in which fingerprints may differ.
DISTANCE = 6
#: Least correlation of the thumbnails.
ALIKE = 0.98
_BITS = 64
# Comparing n pictures that all look alike must not take n * n steps: each meets so many with the same part.
_MEETS = 1000
_AT_ONCE = 1 << 16
_ONES = np.array([bin(byte).count('1') for byte in range(256)], np.uint8)


def check_duplicates(splits: Sequence[Split], table: PictureTable) -> list[Finding]:
    """Duplicates among the files of all splits, and label sets that contradict each other on them."""
    content, pixels = (_numbers(digests, table.loaded) for digests in (table.content, table.pixels))
    holders = _holders(splits, table)
    found = []
    for members in _sets(content):
        found += _duplicates('same-file', 'are the same file', members, table, holders)
    for members in _sets(pixels):
        if len(np.unique(content[members])) > 1:
            found += _duplicates('same-pixels', 'have the same pixels', members, table, holders)
    for members in _near(table, pixels):
        found += _duplicates('near-duplicate', 'are nearly the same picture', members, table, holders)
    same = np.full(len(table.paths), -1)
    for ids in (pixels, content):  # the same file under two loaders may have other pixels
        for members in _sets(ids):
            if len(np.unique(table.places[members])) > 1:
                same[members] = members[0]
    identities = []
    for split in splits:
        index = table.index[split.name]
        number = np.where(index >= 0, same[index], -1) if len(same) else index
        identities.append([None if n < 0 else n for n in number.tolist()])
    return found + contradictions(splits, identities, 'the same picture')


def near_sets(fingerprints: np.ndarray, thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """Sets of pictures of which each is nearly the same as another one.

    Two fingerprints that differ in at most ``DISTANCE`` bits agree in one of ``DISTANCE + 1`` parts, so only those
    that agree in a part are compared.

    Args:
        fingerprints (np.ndarray): Shape (n,), uint64.
        thumbnails (np.ndarray): Shape (n, 256), uint8.

    Yields:
        np.ndarray: Indices, ascending, at least two.
    """
    labels, met = np.arange(len(fingerprints)), []
    for bits in np.array_split(np.arange(_BITS, dtype=np.uint64), DISTANCE + 1):
        part = np.bitwise_or.reduce(np.uint64(1) << bits)
        order = np.lexsort((fingerprints, fingerprints & part))
        pairs = _alike_in_part(part, met, order, fingerprints, thumbnails, labels)
        labels = _joined(labels, pairs)
        met.append(part)
    yield from _sets(labels)


def _alike_in_part(
    part: np.uint64,
    met: Sequence[np.uint64],
    order: np.ndarray,
    fingerprints: np.ndarray,
    thumbnails: np.ndarray,
    labels: np.ndarray,
) -> np.ndarray:
    """Pairs (p, 2) that are alike and not joined yet, of those that agree in a part and in none of those met before.

    ``order`` (n,) sorts by that part.
    """
    keys = fingerprints[order] & part
    pairs, left = [np.zeros((0, 2), np.int64)], np.arange(len(keys))
    for step in range(1, _MEETS):
        left = left[: np.searchsorted(left, len(keys) - step)]
        left = left[keys[left] == keys[left + step]]
        if not len(left):
            break
        a, b = order[left], order[left + step]
        for start in range(0, len(a), _AT_ONCE):
            some = np.stack([a[start : start + _AT_ONCE], b[start : start + _AT_ONCE]], axis=1)
            some = some[labels[some[:, 0]] != labels[some[:, 1]]]
            differing = fingerprints[some[:, 0]] ^ fingerprints[some[:, 1]]
            near = _ONES[differing.view(np.uint8).reshape(-1, 8)].sum(axis=1) <= DISTANCE
            some, differing = some[near], differing[near]
            for earlier in met:
                new = (differing & earlier) != 0
                some, differing = some[new], differing[new]
            pairs.append(some[_correlation(thumbnails[some[:, 0]], thumbnails[some[:, 1]]) >= ALIKE])
        if sum(map(len, pairs)) > _AT_ONCE:
            labels = _joined(labels, np.concatenate(pairs))
            # All that is joined by now, as few pairs.
            pairs = [np.stack([np.arange(len(labels)), labels], axis=1)]
    return np.concatenate(pairs)


def _joined(labels: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Labels (n,) after joining what pairs connect; a label is the lowest index of its set."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(labels)
    pairs = np.concatenate([pairs, np.stack([np.arange(count), labels], axis=1)])
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return first[component]


def _correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of rows, (p,); 0 where one is constant."""
    first, second = (rows - rows.mean(axis=1, keepdims=True) for rows in np.float32([first, second]))
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return (first * second).sum(axis=1) / np.where(scale > 0, scale, np.inf)


def _near(table: PictureTable, pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the table that are nearly the same, one for all with the same pixels."""
    numbers, first = np.unique(pixels, return_index=True)
    first = np.sort(first[numbers >= 0])
    for members in near_sets(table.fingerprints[first], table.thumbnails[first]):
        yield first[members]


def _numbers(digests: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A number for each digest, equal for equal ones; -1 where there is none."""
    _, numbers = np.unique(digests.view('u8').reshape(-1, 2), axis=0, return_inverse=True)
    return np.where(known, numbers.reshape(-1), -1)


def _sets(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of equal numbers, where there are two or more, in the order of their first ones."""
    order = np.argsort(numbers, kind='stable')
    groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    yield from sorted((g for g in groups if len(g) > 1 and numbers[g[0]] >= 0), key=lambda g: g[0])


def _holders(splits: Sequence[Split], table: PictureTable) -> dict[int, dict[str, str]]:
    """For each place the splits that have it, and the path there."""
    holders: dict[int, dict[str, str]] = {}
    for split in splits:
        for row in np.unique(table.index[split.name]).tolist():
            if row >= 0:
                holders.setdefault(int(table.places[row]), {})[split.name] = table.paths[row]
    return holders


def _duplicates(
    code: str, words: str, members: np.ndarray, table: PictureTable, holders: dict[int, dict[str, str]]
) -> list[Finding]:
    """A finding for a set of rows, unless they are one file under several loaders."""
    held = [holders[place] for place in dict.fromkeys(table.places[members].tolist())]
    if len(held) < 2:
        return []
    files = tuple(dict.fromkeys(path for splits in held for path in splits.values()))
    names = list(dict.fromkeys(name for splits in held for name in splits))
    more = f', and {len(held) - 2} more,' if len(held) > 2 else ''
    if len(names) == 1:
        return [Finding('note', code, names[0], f'{files[0]} and {files[1]}{more} {words}', files)]
    names.sort(key=lambda name: name != 'train')
    one, other = next(
        (a, b) for a in held for b in held if a is not b and names[0] in a and set(b) - {names[0]}
    )
    second = next(name for name in other if name != names[0])
    severity, effect = effect_of_sharing(names[0], second)
    message = f'{one[names[0]]} in {names[0]} and {other[second]} in {second}{more} {words}: {effect}'
    return [Finding(severity, code, '+'.join(names), message, files)]

"""Wrong labels: the chances of each, as a transition matrix, and the draw.

A transition matrix has shape (C, C); row i holds the chances of what an image of class i is labelled as, which sum to
1. The level of noise is the share of wrong labels, in [0, 1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmlattn.utils.errors import UserError

from .annotation_files import is_number, is_whole

#: The look-alikes of CIFAR-10 that work on asymmetric label noise usually flips.
CIFAR10_PAIRS = dict(truck='automobile', bird='airplane', deer='horse', cat='dog', dog='cat')

# What each kind of noise is made from.
_OPTIONS = {'symmetric': {'level'}, 'asymmetric': {'level', 'pairs'}, 'matrix': {'transition'}}


def symmetric_transition(num_classes: int, level: float) -> np.ndarray:
    """Every wrong class alike: 1 - level on the diagonal, level / (C - 1) elsewhere.

    Some papers draw from all C classes instead, the right one included; their level l is l * (C - 1) / C here.
    """
    others = 1 - np.eye(num_classes)
    return (1 - level) * np.eye(num_classes) + level / (num_classes - 1) * others


def pair_transition(num_classes: int, pairs: Mapping[int, int], level: float) -> np.ndarray:
    """Class i is taken for class ``pairs[i]`` with chance ``level``; classes without an entry keep their labels."""
    transition = np.eye(num_classes)
    for source, target in pairs.items():
        transition[source, source] -= level
        transition[source, target] += level
    return transition


def flip_labels(labels: np.ndarray, transition: np.ndarray, seed: int) -> np.ndarray:
    """Draw a label for each image, which depends on seed, index and clean label alone.

    ``labels`` (N,) int are the clean ones, in [0, C); the result is (N,) int64. An image has two numbers, f(seed,
    index): whether it keeps its label, and if not, what it gets. So of one seed the wrong labels at a low level of
    noise are among those at a high one.
    """
    # numpy promises the numbers of RandomState for all versions to come; those of default_rng may change.
    keep, choose = np.random.RandomState(seed).random_sample((len(labels), 2)).T
    noisy = np.array(labels, np.int64)
    for label, row in enumerate(transition):
        flipped = np.flatnonzero((labels == label) & (keep >= row[label]))
        if len(flipped):
            chances = np.cumsum(np.where(np.arange(len(row)) == label, 0, row))
            noisy[flipped] = np.searchsorted(chances / chances[-1], choose[flipped], side='right')
    return noisy


def check_noise(kind: str, level: Any, pairs: Any, transition: Any, seed: Any) -> None:
    """Raises ``UserError`` for settings of label noise that are out of range or don't belong together."""
    options = dict(level=level, pairs=pairs, transition=transition)
    given = {name for name, value in options.items() if value is not None}
    if kind not in _OPTIONS:
        raise UserError(f'kind of label noise must be one of {", ".join(_OPTIONS)}, got {kind!r}')
    if given != _OPTIONS[kind]:
        raise UserError(
            f'{kind} label noise is made from {" and ".join(sorted(_OPTIONS[kind]))}, '
            f'got {" and ".join(sorted(given)) or "neither"}'
        )
    if level is not None and not (is_number(level) and 0 <= level < 1):
        raise UserError(f'level of label noise must be in [0, 1), got {level!r}')
    if not (is_whole(seed) and 0 <= seed < 2**32):
        raise UserError(f'seed of label noise must be a whole number from 0 to 2**32 - 1, got {seed!r}')


def build_transition(
    classes: Sequence[str], kind: str, level: float | None, pairs: Any, transition: Any
) -> np.ndarray:
    """The matrix that settings of label noise mean; ``UserError`` if pairs or matrix don't go with the classes."""
    if kind == 'symmetric':
        return symmetric_transition(len(classes), level)
    if kind == 'asymmetric':
        return pair_transition(len(classes), _resolve_pairs(pairs, classes), level)
    return _check_transition(transition, len(classes))


def _resolve_pairs(pairs: Mapping | str, classes: Sequence[str]) -> dict[int, int]:
    """Pairs of class indices."""
    if pairs == 'next':
        return {label: (label + 1) % len(classes) for label in range(len(classes))}
    if pairs == 'cifar10':
        pairs = CIFAR10_PAIRS
    if not isinstance(pairs, Mapping) or not pairs:
        raise UserError(f"pairs must be a dict of classes, 'cifar10' or 'next', got {pairs!r}")
    resolved = [(_class_index(a, classes), _class_index(b, classes)) for a, b in pairs.items()]
    if len(dict(resolved)) < len(resolved) or any(source == target for source, target in resolved):
        raise UserError(f'pairs must take each class once, and for another class, got {dict(pairs)}')
    return dict(resolved)


def _class_index(name: str | int, classes: Sequence[str]) -> int:
    if name in classes:
        return list(classes).index(name)
    if is_whole(name) and 0 <= name < len(classes):
        return name
    raise UserError(
        f'pairs: there is no class {name!r}; expected an index up to {len(classes) - 1} or one of '
        f'{", ".join(map(str, classes))}'
    )


def _check_transition(transition: Any, num_classes: int) -> np.ndarray:
    """The matrix as float64, its rows brought to a sum of exactly 1."""
    try:
        matrix = np.array(transition, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f'transition must be a matrix of numbers: {error}') from error
    if matrix.shape != (num_classes, num_classes):
        raise UserError(
            f'transition must have a row and a column for each of the {num_classes} classes, got shape {matrix.shape}'
        )
    sums = matrix.sum(1)
    wrong = np.flatnonzero(~((matrix >= 0).all(1) & (abs(sums - 1) <= 1e-6)))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f'row {row} of transition must be chances that sum to 1, got {matrix[row].tolist()}, sum {sums[row]:.6g}'
        )
    return matrix / sums[:, None]

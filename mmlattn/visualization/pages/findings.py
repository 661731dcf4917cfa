"""What of a test is worth looking at: arrays in, pictures by their number and counts out. No words yet.

N is the number of pictures, C that of classes; see ``evaluation/functional/errors.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmlattn.evaluation.functional import errors
from mmlattn.evaluation.functional.checks import check_scores
from mmlattn.utils.errors import UserError

#: Pictures of each section, suspects of each kind, examples of each pair and each class, rows of a table of pairs.
WORST, DOUBTFUL, SUSPECTS, EXAMPLES, PAIRS = 24, 12, 12, 3, 25


@dataclass(frozen=True, eq=False)
class Tested:
    """A test: what was said of each picture, and what is true.

    Args:
        names: N names of pictures, for people.
        classes: C names.
        scores: (N, C) in [0, 1].
        predicted: (N, C) bool.
        targets: (N, C) of 1 present, 0 absent, -1 unknown.
    """

    names: Sequence[str]
    classes: Sequence[str]
    scores: np.ndarray
    predicted: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        """Raises ``UserError`` unless all are of the same pictures and classes, and scores are probabilities."""
        errors.check_probabilities(self.scores, self.targets)
        check_scores(self.predicted, self.targets, 'predicted')
        if (len(self.names), len(self.classes)) != self.scores.shape:
            raise UserError(
                f'{len(self.names)} names of pictures and {len(self.classes)} of classes do not fit scores of shape '
                f'{self.scores.shape}'
            )

    @cached_property
    def exclusive(self) -> bool:
        """Whether each picture has one label and gets one, and its scores share 1 among them, as of a softmax."""
        sums = self.scores.sum(axis=1, dtype=np.float64)
        one = ((self.targets == 1).sum(axis=1) == 1) & (self.predicted.sum(axis=1) == 1)
        return bool(one.all() and (self.targets >= 0).all() and (abs(sums - 1) < 1e-2).all())

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """``tp fp fn tn``, (N, C) bool each."""
        return errors.outcome_masks(self.predicted, self.targets)

    @cached_property
    def losses(self) -> np.ndarray:
        """Of the pictures, (N,)."""
        return errors.picture_losses(self.scores, self.targets, self.exclusive)

    @cached_property
    def doubts(self) -> np.ndarray:
        """About the pictures, (N,)."""
        return errors.doubts(self.scores, self.exclusive)


@dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong: of which picture and class, and with one label each, of which class instead."""

    picture: int
    label: int
    instead: int | None = None


@dataclass(frozen=True)
class Pair:
    """Two classes, how often they are what, and pictures that show it."""

    a: int
    b: int
    counts: dict[str, int]
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Findings:
    """What is worth looking at, worst first.

    Attributes:
        worst, doubtful: Pictures.
        suspects: Labels by kind: ``unlisted`` are absent and seem present, ``untrue`` are present and seem absent,
            and with one label each ``instead`` seem to be of another class. ``num_suspects`` counts them all.
        added: Predicted together, not true together. ``predicted``, of these ``only_a``, ``only_b`` and ``neither``
            true, and ``wrong`` in all.
        dropped: True together, not predicted together. ``present``, of these ``only_a``, ``only_b`` and ``neither``
            predicted, and ``wrong`` in all.
        mistaken: a is missed where b is wrongly predicted: ``count``.
        num_pairs: How many of the last three there are without a limit.
        wrong, missed: Pictures of each class, C tuples: falsely predicted by the best score, missed by the lowest.
    """

    worst: tuple[int, ...]
    doubtful: tuple[int, ...]
    suspects: dict[str, tuple[Suspect, ...]]
    num_suspects: dict[str, int]
    added: tuple[Pair, ...]
    dropped: tuple[Pair, ...]
    mistaken: tuple[Pair, ...]
    num_pairs: dict[str, int]
    wrong: tuple[tuple[int, ...], ...]
    missed: tuple[tuple[int, ...], ...]

    @property
    def looked_at(self) -> tuple[int, ...]:
        """Pictures that are looked at by themselves, so that their evidence is worth drawing."""
        suspects = (suspect.picture for kind in self.suspects.values() for suspect in kind)
        return tuple(dict.fromkeys((*self.worst, *suspects, *self.doubtful)))

    def pictures(self, most: int) -> tuple[int, ...]:
        """At most so many of all: those looked at first; then each class and pair gets one before another."""
        rest = [pair.pictures for pairs in (self.mistaken, self.added, self.dropped) for pair in pairs]
        groups = [*self.wrong, *self.missed, *rest]
        turns = (group[turn] for turn in range(EXAMPLES) for group in groups if turn < len(group))
        return tuple(dict.fromkeys((*self.looked_at, *turns)))[:most]


def find(tested: Tested) -> Findings:
    """Look at a test."""
    pairs = errors.pair_tables(tested.predicted, tested.targets)
    added, num_added = _unordered(tested, pairs.predicted, pairs.added, pairs.invented, 'predicted')
    dropped, num_dropped = _unordered(tested, pairs.present, pairs.dropped, pairs.overlooked, 'present')
    mistaken, num_mistaken = _mistaken(tested, pairs.mistaken)
    suspects = find_suspects(tested)
    classes = range(len(tested.classes))
    return Findings(
        worst=_rows(errors.largest(tested.losses, tested.losses > 0, WORST)),
        doubtful=_rows(errors.largest(tested.doubts, tested.doubts > 0, DOUBTFUL)),
        suspects={kind: found[:SUSPECTS] for kind, found in suspects.items()},
        num_suspects={kind: len(found) for kind, found in suspects.items()},
        added=added,
        dropped=dropped,
        mistaken=mistaken,
        num_pairs=dict(added=num_added, dropped=num_dropped, mistaken=num_mistaken),
        wrong=tuple(_of_class(tested.scores, tested.masks['fp'], c) for c in classes),
        missed=tuple(_of_class(-tested.scores, tested.masks['fn'], c) for c in classes),
    )


def find_suspects(tested: Tested) -> dict[str, tuple[Suspect, ...]]:
    """The labels that the model contradicts, by kind, the surest first; see :class:`Findings`."""
    if tested.exclusive:
        truth = tested.targets.argmax(axis=1)
        instead = errors.contradicted_classes(tested.scores, truth)
        rows = np.arange(len(truth))
        order = errors.largest(tested.scores[rows, instead] - tested.scores[rows, truth], instead >= 0)
        return dict(instead=tuple(Suspect(int(i), int(truth[i]), int(instead[i])) for i in order))
    contradicted = errors.contradicted_labels(tested.scores, tested.targets)
    losses = errors.label_losses(tested.scores, tested.targets).ravel()
    suspects = {}
    for kind, given in dict(unlisted=0, untrue=1).items():
        order = errors.largest(losses, (contradicted & (tested.targets == given)).ravel())
        places = zip(*np.unravel_index(order, tested.scores.shape), strict=True)
        suspects[kind] = tuple(Suspect(int(row), int(label)) for row, label in places)
    return suspects


def _of_class(scores: np.ndarray, mask: np.ndarray, label: int) -> tuple[int, ...]:
    return _rows(errors.largest(scores[:, label], mask[:, label], EXAMPLES))


def _unordered(
    tested: Tested, together: np.ndarray, one: np.ndarray, none: np.ndarray, name: str
) -> tuple[tuple[Pair, ...], int]:
    """Pairs a < b that are together here but not there; ``one[a, b]`` counts where there is only b."""
    wrong = np.triu(one + one.T + none, 1)
    order = errors.largest(wrong.ravel(), wrong.ravel() > 0)
    pairs = []
    for a, b in zip(*np.unravel_index(order[:PAIRS], wrong.shape), strict=True):
        right, left = ('tp', 'fp') if name == 'predicted' else ('tp', 'fn')
        of_a, of_b = (tested.masks[right][:, c] | tested.masks[left][:, c] for c in (a, b))
        mask = of_a & of_b & (tested.masks[left][:, a] | tested.masks[left][:, b])
        counts = {name: together[a, b], 'only_a': one[b, a], 'only_b': one[a, b], 'neither': none[a, b]}
        counts['wrong'] = wrong[a, b]
        pairs.append(_pair(tested, a, b, counts, mask))
    return tuple(pairs), len(order)


def _mistaken(tested: Tested, counts: np.ndarray) -> tuple[tuple[Pair, ...], int]:
    order = errors.largest(counts.ravel(), counts.ravel() > 0)
    places = zip(*np.unravel_index(order[:PAIRS], counts.shape), strict=True)
    pairs = [
        _pair(tested, a, b, dict(count=counts[a, b]), tested.masks['fn'][:, a] & tested.masks['fp'][:, b])
        for a, b in places
    ]
    return tuple(pairs), len(order)


def _pair(tested: Tested, a: int, b: int, counts: dict, mask: np.ndarray) -> Pair:
    counts = {name: int(count) for name, count in counts.items()}
    return Pair(int(a), int(b), counts, _rows(errors.largest(tested.losses, mask, EXAMPLES)))


def _rows(order: np.ndarray) -> tuple[int, ...]:
    return tuple(order.tolist())

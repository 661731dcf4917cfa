"""Which pictures a model learns from, which choose its thresholds and which judge it: train, val and test.

What must not be torn apart is a unit: the frames of a video, copies of a file. N is the number of pictures, U that of
units, C that of classes and S that of splits. A class that three units have is in all three splits, one that two have
in train and val, one that one has in train, as far as they can be parted.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from mmlattn.utils.errors import UserError

SPLITS = ('train', 'val', 'test')
_FEW_UNITS, _RANDOM_STARTS = 500, 60


def parse_shares(text: str) -> np.ndarray:
    """The shares of train, val and test, (3,), of a text such as ``'80/10/10'``; they sum to 1.

    Raises:
        UserError: For anything but numbers of which the first two are above 0.

    Examples:
        >>> parse_shares('70/20/10').tolist()
        [0.7, 0.2, 0.1]
    """
    try:
        shares = np.array([float(part) for part in text.split('/')])
    except ValueError:
        shares = np.array([])
    sound = len(shares) in (2, 3) and np.isfinite(shares).all() and (shares[:2] > 0).all()
    if not sound or (shares < 0).any():
        raise UserError(
            f'--split takes the shares of train, val and test, as in 80/10/10, the first two above 0, got {text!r}'
        )
    shares = np.append(shares, 0.0)[:3]
    return shares / shares.sum()


def units_of(*ties: Sequence[Hashable | None]) -> np.ndarray:
    """Numbers of units, (N,), from 0: pictures that share an entry of any of ``ties``, each N long, are in one.

    None ties to nothing.

    Examples:
        >>> units_of(['a', 'a', 'b', None], [None, 1, 2, 1]).tolist()
        [0, 0, 1, 0]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = []
    for tie in ties:
        first: dict[Hashable, int] = {}
        for picture, entry in enumerate(tie):
            if entry is not None:
                pairs.append((first.setdefault(entry, picture), picture))
    number = len(ties[0])
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs), bool), (rows, columns)), (number, number))
    return connected_components(graph, directed=False)[1]


def split_pictures(present: np.ndarray, units: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """The split of each picture, (N,), an index of ``shares``.

    Units are split by iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011), then moved where a
    class would be without an example, or where units of different size left a split too small. Moves end where no
    single one helps, so a few units that differ in size, or lack an example still, are also begun with at random, and
    the best end is taken.

    Args:
        present (np.ndarray): (N, C) bool, whether a picture has a label.
        units (np.ndarray): (N,), see :func:`units_of`.
        shares (np.ndarray): (S,), of the pictures; nothing goes where it is 0.
        seed (int): The same one gives the same split.

    Raises:
        UserError: If there are fewer units than splits.
    """
    from iterstrat.ml_stratifiers import IterativeStratification

    used = np.flatnonzero(shares > 0)
    counts = unit_counts(present, units)
    if len(counts) < len(used):
        what = 'pictures, each of its own,' if len(counts) == len(units) else 'groups of pictures'
        raise UserError(
            f'{len(counts)} {what} can not be split into {len(used)}: add more, or leave test out with '
            '--split 80/20/0'
        )
    shares, random = shares[used], np.random.RandomState(seed)
    ends = [_Balance(counts, shares, IterativeStratification(counts[:, 1:] > 0, shares, random)).improved()]
    if len(counts) <= _FEW_UNITS and (counts[:, 0].max() > 1 or ends[0].distance()[0]):
        starts = [random.choice(len(shares), len(counts), p=shares) for _ in range(_RANDOM_STARTS)]
        ends += [_Balance(counts, shares, start).improved() for start in starts]
    return used[min(ends, key=_Balance.distance).split][units]


def unit_counts(present: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Of each unit the number of pictures, and of those with each label, (U, 1 + C)."""
    order = np.argsort(units, kind='stable')
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    table = np.column_stack([np.ones(len(units), np.int64), present])[order]
    return np.add.reduceat(table, starts, axis=0)


class _Balance:
    """An assignment of units to splits that is made better move by move.

    How far it is from the shares is Pearson's chi-square over splits and columns of ``counts``, in which that of
    pictures has the weight of all classes together.

    Args:
        counts (np.ndarray): (U, 1 + C), see :func:`unit_counts`.
        shares (np.ndarray): (S,), all above 0.
        split (np.ndarray): (U,), the assignment to begin with.
    """

    def __init__(self, counts: np.ndarray, shares: np.ndarray, split: np.ndarray) -> None:
        occurs = counts.sum(axis=0) > 0
        self.counts, self.has = counts[:, occurs], counts[:, occurs] > 0
        self.split = split.copy()
        self.wanted = np.outer(shares, self.counts.sum(axis=0))
        self.weights = np.ones(self.counts.shape[1])
        self.weights[0] = max(len(self.weights) - 1, 1)
        # Whom a class that few units have goes to: first to train, then to val.
        self.due = np.arange(len(shares))[:, None] < self.has.sum(axis=0)

    def distance(self) -> tuple[int, float]:
        """Of how many classes a due example is missing, then how far the numbers are from the shares."""
        there, carriers = self._sums(self.counts), self._sums(self.has)
        far = ((there - self.wanted) ** 2 / self.wanted * self.weights).sum()
        return int((self.due & (carriers == 0)).sum()), float(far)

    def improved(self) -> '_Balance':
        """Itself, after all moves that help."""
        for column in np.argsort(self.has.sum(axis=0), kind='stable'):
            for target in range(len(self.wanted)):
                if self.due[target, column] and not self.has[self.split == target, column].any():
                    self._move(np.flatnonzero(self.has[:, column]), [target], filling=column == 0)
        if self.counts[:, 0].max() > 1:
            everything, targets = np.arange(len(self.counts)), range(len(self.wanted))
            while self._move(everything, targets, only_if_better=True):
                pass
        return self

    def _sums(self, table: np.ndarray) -> np.ndarray:
        return np.stack([table[self.split == s].sum(axis=0) for s in range(len(self.wanted))])

    def _move(
        self, units: np.ndarray, targets: Sequence[int], only_if_better: bool = False, filling: bool = False
    ) -> bool:
        """Make the best move of one of the units to one of the targets; whether there is one.

        None empties a split, or takes the last example of a class from where it is due, unless for ``filling`` an
        empty split.
        """
        last = self.due & (self._sums(self.has) == 1)
        here, counts = self.split[units], self.counts[units]
        inverse = self.weights / self.wanted
        slope = (self._sums(self.counts) - self.wanted) * inverse
        # Of (n + x - w)^2 / w - (n - w)^2 / w for the target, and with -x for the split it leaves.
        squares, products = counts**2 @ inverse.T, counts @ slope.T
        rows = np.arange(len(units))
        leave = squares[rows, here] - 2 * products[rows, here]
        change = (leave[:, None] + squares + 2 * products)[:, list(targets)]
        change[np.asarray(targets)[None] == here[:, None]] = np.inf
        change[last[here, 0]] = np.inf
        taken = (self.has[units] & last[here]).sum(axis=1)
        # No split may stay empty, if need be at the cost of a class.
        change += np.where(taken > 0, 1e9 * taken if filling else np.inf, 0)[:, None]
        unit, target = np.unravel_index(change.argmin(), change.shape)
        found = change[unit, target] < (-1e-9 if only_if_better else np.inf)
        if found:
            self.split[units[unit]] = list(targets)[target]
        return bool(found)

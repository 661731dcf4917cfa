"""Wrong labels on purpose: a data set wrapper that flips labels by a known transition matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    force_full_init,
)
from mmengine.logging import print_log
from mmengine.registry import DATASETS as ROOT_DATASETS

from mmlattn.datasets.annotation_checks import is_number, is_whole
from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

__all__ = ['CIFAR10_PAIRS', 'NoisyLabels', 'flip_labels', 'pair_transition', 'symmetric_transition']

#: The look-alikes of CIFAR-10 that work on asymmetric label noise usually flips.
CIFAR10_PAIRS = dict(truck='automobile', bird='airplane', deer='horse', cat='dog', dog='cat')

# What each kind of noise is made from.
_OPTIONS = {'symmetric': {'level'}, 'asymmetric': {'level', 'pairs'}, 'matrix': {'transition'}}


def symmetric_transition(num_classes: int, level: float) -> np.ndarray:
    """Every wrong class alike: 1 - level on the diagonal, level / (C - 1) elsewhere.

    Some papers draw from all C classes instead, the right one included; their level l is l * (C - 1) / C here.

    Args:
        num_classes (int): C, at least 2.
        level (float): Share of wrong labels, in [0, 1).

    Returns:
        np.ndarray: Shape (C, C); row i holds the chances of what an image of class i is labelled as.
    """
    others = 1 - np.eye(num_classes)
    return (1 - level) * np.eye(num_classes) + level / (num_classes - 1) * others


def pair_transition(num_classes: int, pairs: Mapping[int, int], level: float) -> np.ndarray:
    """Classes that are taken for one other class each: class i for ``pairs[i]``, with chance ``level``.

    Args:
        num_classes (int): C.
        pairs (Mapping[int, int]): Indices; classes without an entry keep their labels.
        level (float): Share of wrong labels in the classes that have an entry, in [0, 1).

    Returns:
        np.ndarray: Shape (C, C), as in :func:`symmetric_transition`.
    """
    transition = np.eye(num_classes)
    for source, target in pairs.items():
        transition[source, source] -= level
        transition[source, target] += level
    return transition


def flip_labels(labels: np.ndarray, transition: np.ndarray, seed: int) -> np.ndarray:
    """Draw a label for each image, which depends on seed, index and clean label alone.

    An image has two numbers, f(seed, index): whether it keeps its label, and if not, what it gets. So of one
    seed the wrong labels at a low level of noise are among those at a high one.

    Args:
        labels (np.ndarray): Shape (N,), int, clean labels in [0, C).
        transition (np.ndarray): Shape (C, C), rows sum to 1.
        seed (int): In [0, 2**32).

    Returns:
        np.ndarray: Shape (N,), int64.
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


@DATASETS.register_module()
class NoisyLabels:
    """A single-label data set some of whose labels are wrong, once and for all.

    The noise is drawn when the data set is loaded. It depends on (seed, index, clean label) alone and is the same in
    every epoch, process and worker and for every seed of the training; no global generator is touched.
    ``gt_label`` of an item is the noisy label; the true one is ``clean_label``, which
    ``PackInputs(algorithm_keys=('clean_label',))`` hands on. All of both are in the arrays ``noisy_labels`` and
    ``clean_labels``, shape (N,), the matrix is in ``transition``, shape (C, C).

    ``metainfo['label_noise']`` (and so a checkpoint's ``dataset_meta``) keeps ``kind``, ``level``, ``seed`` and
    ``transition`` as plain numbers and lists. Clean data is added with ``ConcatDataset(ignore_keys='label_noise')``.

    Args:
        dataset (dict | Dataset): Config of the data set, or the data set: one of mmengine's or mmpretrain's, or a
            ``ConcatDataset``, ``RepeatDataset`` or ``ClassBalancedDataset`` of them, in which an image that occurs
            several times has one label. Its own ``indices`` and filters come first.
        kind (str): ``'symmetric'`` (:func:`symmetric_transition`, needs ``level``), ``'asymmetric'``
            (:func:`pair_transition`, needs ``level`` and ``pairs``) or ``'matrix'`` (needs ``transition``).
            Defaults to ``'symmetric'``, which is the noise of the RAN paper with level = 1 - r.
        level (float, optional): Expected share of wrong labels, in [0, 1); with ``pairs``, in the classes they name.
        pairs (dict | str, optional): Class taken for -> class, by name or index; ``'cifar10'`` for
            ``CIFAR10_PAIRS``; ``'next'`` for each class's successor, the first being that of the last.
        transition (Sequence, optional): Shape (C, C); row i holds the chances, summing to 1, of what an image of
            class i is labelled as.
        seed (int): Seed of the noise, in [0, 2**32). Defaults to 0.
        lazy_init (bool): Whether to wait for ``full_init`` before loading. Defaults to False.

    Raises:
        UserError: on options that don't belong together or are out of range, unknown classes, rows
            that don't sum to 1, a data set without class names, or with several labels an image.

    Examples:
        >>> NoisyLabels(dict(type='mmpretrain.CIFAR10', data_root='data/cifar10', split='train'), level=0.3)
        >>> NoisyLabels(cifar10, kind='asymmetric', level=0.4, pairs=dict(cat='dog', dog='cat'), seed=1)
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        kind: str = 'symmetric',
        level: float | None = None,
        pairs: Mapping[str | int, str | int] | str | None = None,
        transition: Sequence[Sequence[float]] | None = None,
        seed: int = 0,
        lazy_init: bool = False,
    ) -> None:
        _check_options(kind, level, pairs, transition, seed)
        self.dataset = ROOT_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        _check_support(self.dataset)
        self._noise = dict(kind=kind, level=level, seed=seed)
        self._pairs, self._given_transition = pairs, transition
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the data set, check its labels and draw the noise."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        classes = self.dataset.metainfo.get('classes')
        if not classes or len(classes) < 2:
            raise UserError(
                f'{type(self.dataset).__name__} names {classes or "no classes"}, and label noise needs two or more: '
                'give it metainfo=dict(classes=[...])'
            )
        self.transition = self._build_transition(classes)
        self.clean_labels, first = self._read_labels(len(classes))
        self.noisy_labels = flip_labels(self.clean_labels, self.transition, self._noise['seed'])[first]
        self._fully_initialized = True
        wrong = np.count_nonzero(self.noisy_labels != self.clean_labels)
        print_log(f'Label noise {self._noise}: {wrong} of {len(self)} labels are wrong', 'current')

    def _build_transition(self, classes: Sequence[str]) -> np.ndarray:
        kind, level = self._noise['kind'], self._noise['level']
        if kind == 'matrix':
            return _check_transition(self._given_transition, len(classes))
        if kind == 'symmetric':
            return symmetric_transition(len(classes), level)
        return pair_transition(len(classes), _resolve_pairs(self._pairs, classes), level)

    def _read_labels(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Clean labels, and for each index the first one with the same image; both of shape (N,)."""
        labels, first, seen = [], [], {}
        for index in range(len(self.dataset)):
            leaf, position = _locate(self.dataset, index)
            label = np.asarray(self.dataset.get_data_info(index).get('gt_label', ()))
            if label.ndim or label.dtype.kind not in 'iu' or not 0 <= label < num_classes:
                raise UserError(
                    f'item {index} of {type(leaf).__name__} has gt_label {label.tolist()}: label noise needs '
                    f'one label an image, a whole number from 0 to {num_classes - 1}, and takes no multi-label data'
                )
            labels.append(int(label))
            first.append(seen.setdefault((id(leaf), position), index))
        return np.array(labels, np.int64), np.array(first, np.int64)

    @property
    def metainfo(self) -> dict:
        """The data set's, and ``label_noise``; its ``transition`` is known once the data set is loaded."""
        noise = dict(self._noise)
        if self._fully_initialized:
            noise['transition'] = self.transition.tolist()
        return dict(self.dataset.metainfo, label_noise=noise)

    @property
    def pipeline(self) -> Any:
        """The data set's pipeline; hooks that switch the recipe assign to it."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Annotation ``idx`` with the noisy ``gt_label``, int, and the true ``clean_label``, int."""
        info = self.dataset.get_data_info(idx)
        return dict(info, gt_label=int(self.noisy_labels[idx]), clean_label=int(self.clean_labels[idx]))

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """The noisy label of item ``idx`` in a list, for ``ClassBalancedDataset``."""
        return [int(self.noisy_labels[idx])]

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """All noisy labels, shape (N,), int64."""
        return self.noisy_labels

    @force_full_init
    def __len__(self) -> int:
        """Number of items."""
        return len(self.dataset)

    def __getitem__(self, idx: int) -> Any:
        """Item ``idx`` after the pipeline of the data set that holds it.

        In training an image that the pipeline rejects is replaced, as in mmengine.
        """
        leaf, _ = _locate(self.dataset, idx)
        for _ in range(leaf.max_refetch + 1):
            item = leaf.pipeline(self.get_data_info(idx))
            if item is not None:
                return item
            if leaf.test_mode:
                break
            idx = np.random.randint(len(self))
            leaf, _ = _locate(self.dataset, idx)
        raise RuntimeError(f'the pipeline of {type(leaf).__name__} gives None for item {idx}')


def _locate(dataset: Any, index: int) -> tuple[BaseDataset, int]:
    """The data set, under any of mmengine's wrappers, that holds item ``index``, and its index there."""
    if isinstance(dataset, ConcatDataset):
        which, index = dataset._get_ori_dataset_idx(index)
        return _locate(dataset.datasets[which], index)
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        return _locate(dataset.dataset, dataset._get_ori_dataset_idx(index))
    _check_support(dataset)
    return dataset, index


def _check_support(dataset: Any) -> None:
    if not isinstance(dataset, (BaseDataset, ConcatDataset, RepeatDataset, ClassBalancedDataset)):
        raise UserError(
            f'NoisyLabels can not look into {type(dataset).__name__}: expected a BaseDataset, ConcatDataset, '
            'RepeatDataset or ClassBalancedDataset; put other wrappers around NoisyLabels instead'
        )


def _check_options(kind: str, level: Any, pairs: Any, transition: Any, seed: Any) -> None:
    given = {
        name
        for name, value in dict(level=level, pairs=pairs, transition=transition).items()
        if value is not None
    }
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


def _resolve_pairs(pairs: Mapping | str, classes: Sequence[str]) -> dict[int, int]:
    """Pairs of class indices."""
    if pairs == 'next':
        return {label: (label + 1) % len(classes) for label in range(len(classes))}
    if pairs == 'cifar10':
        pairs = CIFAR10_PAIRS
    if not isinstance(pairs, Mapping) or not pairs:
        raise UserError(f"pairs must be a dict of classes, 'cifar10' or 'next', got {pairs!r}")
    resolved = [(_class_index(a, classes), _class_index(b, classes)) for a, b in pairs.items()]
    sources = [source for source, _ in resolved]
    if len(set(sources)) < len(sources) or any(source == target for source, target in resolved):
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

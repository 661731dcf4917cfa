"""Wrong labels on purpose: a data set wrapper that flips labels by a known transition matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset, force_full_init
from mmengine.logging import print_log
from mmengine.registry import DATASETS as ROOT_DATASETS

from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

from .label_flips import build_transition, check_noise, flip_labels


@DATASETS.register_module()
class NoisyLabels:
    """A single-label data set some of whose labels are wrong, once and for all.

    The noise is drawn when the data set is loaded. It depends on (seed, index, clean label) alone: it is the same in
    every epoch, process and worker, and for every seed of the training.

    ``gt_label`` of an item is the noisy label, ``clean_label`` the true one, which
    ``PackInputs(algorithm_keys=('clean_label',))`` hands on. The arrays ``noisy_labels`` and ``clean_labels``, shape
    (N,), hold all of both. ``metainfo['label_noise']``, and so a checkpoint's ``dataset_meta``, keeps ``kind``,
    ``level``, ``seed`` and ``transition``. Clean data is added with ``ConcatDataset(ignore_keys='label_noise')``.

    Args:
        dataset (dict | Dataset): Config of the data set, or the data set: one of mmengine's or mmpretrain's, or a
            ``ConcatDataset``, ``RepeatDataset`` or ``ClassBalancedDataset`` of them, in which an image that occurs
            several times has one label. Its own ``indices`` and filters come first.
        kind (str): ``'symmetric'`` (every wrong class alike, needs ``level``), ``'asymmetric'`` (each class for one
            other, needs ``level`` and ``pairs``) or ``'matrix'`` (needs ``transition``). Defaults to ``'symmetric'``,
            the noise of the RAN paper with level = 1 - r.
        level (float, optional): Expected share of wrong labels, in [0, 1); with ``pairs``, in the classes they name.
        pairs (dict | str, optional): Class taken for -> class, by name or index; ``'cifar10'`` for
            ``CIFAR10_PAIRS``; ``'next'`` for each class's successor, the first being that of the last.
        transition (Sequence, optional): Shape (C, C); row i holds the chances of what class i is labelled as.
        seed (int): Seed of the noise, in [0, 2**32). Defaults to 0.
        lazy_init (bool): Whether to wait for ``full_init`` before loading. Defaults to False.

    Raises:
        UserError: on options that don't belong together or are out of range, unknown classes, rows that don't sum to
            1, a data set without class names, or with several labels an image.
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
        check_noise(kind, level, pairs, transition, seed)
        self.dataset = ROOT_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        _check_support(self.dataset)
        self._noise = dict(kind=kind, level=level, seed=seed)
        self._made_from = dict(kind=kind, level=level, pairs=pairs, transition=transition)
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
        self.transition = build_transition(classes, **self._made_from)
        self.clean_labels, first = self._read_labels(len(classes))
        self.noisy_labels = flip_labels(self.clean_labels, self.transition, self._noise['seed'])[first]
        self._fully_initialized = True
        wrong = np.count_nonzero(self.noisy_labels != self.clean_labels)
        print_log(f'Label noise {self._noise}: {wrong} of {len(self)} labels are wrong', 'current')

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
        """Item ``idx`` after the pipeline of its data set; in training one that the pipeline rejects is replaced."""
        leaf, _ = _locate(self.dataset, idx)
        for _ in range(leaf.max_refetch + 1):
            item = leaf.pipeline(self.get_data_info(idx))
            if item is not None:
                return item
            if leaf.test_mode:
                break
            idx = np.random.randint(len(self))
            leaf, _ = _locate(self.dataset, idx)
        raise UserError(
            f'the pipeline of {type(leaf).__name__} gives None for item {idx}: change the transform that refuses it, '
            'or leave the item out'
        )


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

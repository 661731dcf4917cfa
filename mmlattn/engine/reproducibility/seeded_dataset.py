"""Augmentation as a function of (seed, epoch, index)."""

from typing import Any

import torch
from mmengine.registry import DATASETS as ROOT_DATASETS
from torch.utils.data import Dataset

from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

from .seeding import ITEM, POSITION, seeded


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Any data set, with the randomness of each item fixed by (seed, epoch, index).

    Around each item ``random``, ``numpy.random`` and torch's CPU generator are seeded, and put back afterwards. An
    index that knows its ``position``, a ``StreamIndex``, is seeded by (seed, position) instead. Transforms with a
    generator of their own are out of reach.

    ``ReproducibilityHook`` sets the seed and the epoch; every other attribute is the wrapped data set's.

    Args:
        dataset (dict | Dataset): Any map-style data set or its config, also mmengine's ``ConcatDataset``,
            ``RepeatDataset`` and ``ClassBalancedDataset``.
        seed (int, optional): Seed to start with, >= 0. Defaults to None: to be set before the first item.
    """

    def __init__(self, dataset: dict | Dataset, seed: int | None = None) -> None:
        self.dataset = ROOT_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        # (seed, epoch) in shared memory: workers that outlive an epoch must see the next one.
        self._now = torch.tensor([-1, 0]).share_memory_()
        if seed is not None:
            self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        """Set the seed of the run, 0 or more, for all workers."""
        if seed < 0:
            raise UserError(f'the seed must be 0 or more, got {seed}')
        self._now[0] = seed

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0, for all workers."""
        self._now[1] = epoch

    def __len__(self) -> int:
        """Number of items."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Item ``index`` as this (seed, epoch) sees it; ``UserError`` if no seed was set."""
        seed, epoch = self._now.tolist()
        if seed < 0:
            raise UserError(
                'SeededDataset was not told its seed: add '
                "custom_hooks=[dict(type='mmlattn.ReproducibilityHook')] to the config, or give seed="
            )
        position = getattr(index, 'position', None)
        key = (ITEM, epoch, int(index)) if position is None else (POSITION, position)
        with seeded(seed, *key):
            return self.dataset[int(index)]

    @property
    def pipeline(self) -> Any:
        """The wrapped data set's pipeline; hooks that switch the recipe assign to it."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        # Special names stay ours: DataLoader would fetch whole batches through the inner __getitems__.
        if name.startswith('__') or name in ('dataset', '_now'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

"""Class-aware sampling: first a class, then a picture that has it."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.logging import print_log
from torch.utils.data import Sampler

from mmlattn.engine.label_counts import picture_labels
from mmlattn.engine.reproducibility.stream import StreamIndex
from mmlattn.registry import DATA_SAMPLERS
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError


@DATA_SAMPLERS.register_module()
class ClassAwareSampler(Sampler):
    """Draws each class equally often, and for each draw a picture that has it (Shen et al., ECCV 2016).

    Classes come in one permutation after another, and so do the pictures of each class, so that within an epoch
    counts of draws differ by 1 at most between classes, and between the pictures of a class. A picture with several
    labels comes for each of them. The order is a function of seed and epoch, dealt out to the processes in turn, and
    every epoch is as long as without this sampler. Pictures without a label are never drawn.

    Indices know their position in training, so ``SeededDataset`` augments each visit to a picture anew.

    Args:
        dataset (Sized): Of pictures that tell their labels, see ``mmlattn.engine.label_counts``. mmengine's runner
            gives it, and the seed.
        seed (int, optional): Defaults to one that all processes agree on.
        num_samples (int, optional): Pictures in an epoch, over all processes; defaults to those of the data set.
        shuffle, round_up (bool): As for ``DefaultSampler``, whose place this sampler takes; False is refused.

    Raises:
        UserError: If the data set can not tell its labels, or no picture has one.
    """

    numbers_visits = True

    def __init__(
        self,
        dataset: Sized,
        seed: int | None = None,
        num_samples: int | None = None,
        shuffle: bool = True,
        round_up: bool = True,
    ) -> None:
        if not (shuffle and round_up):
            raise UserError('ClassAwareSampler draws by chance: leave shuffle and round_up out of sampler')
        if num_samples is not None:
            check_whole('num_samples', num_samples, 1)
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.num_samples = -(-(num_samples or len(dataset)) // self.world_size)
        self.pictures = _pictures_of_classes(dataset)

    def __len__(self) -> int:
        """Samples of this process."""
        return self.num_samples

    def __iter__(self) -> Iterator[StreamIndex]:
        """Iterate this process's part of the epoch."""
        total = self.num_samples * self.world_size
        drawn = draw_by_class(self.pictures, total, np.random.default_rng([self.seed, self.epoch]))
        positions = range(self.epoch * total + self.rank, (self.epoch + 1) * total, self.world_size)
        return map(StreamIndex, drawn[self.rank :: self.world_size].tolist(), positions)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, counted from 0."""
        self.epoch = epoch


def draw_by_class(pictures: list[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` pictures, (count,), from lists that each hold the pictures of a class, none of them empty."""
    classes = _permutations(len(pictures), count, rng)
    drawn = np.empty(count, dtype=np.int64)
    for listed, places in zip(pictures, _places(classes, len(pictures)), strict=True):
        drawn[places] = listed[_permutations(len(listed), len(places), rng)]
    return drawn


def _permutations(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """The first ``count`` of one permutation of 0 to ``size`` - 1 after another."""
    rounds = np.tile(np.arange(size), (-(-count // size), 1))
    return rng.permuted(rounds, axis=1).reshape(-1)[:count]


def _pictures_of_classes(dataset: Sized) -> list[np.ndarray]:
    """The pictures of each class that has any, in the order of the classes."""
    pairs = [
        (label, index) for index, labels in enumerate(picture_labels(dataset)) for label in sorted(labels)
    ]
    if not pairs:
        raise UserError(
            'ClassAwareSampler draws classes, but no picture of the training data has one: check its annotations'
        )
    labels, indices = np.array(pairs).T
    unlabelled = len(dataset) - len(np.unique(indices))
    if unlabelled:
        print_log(f'ClassAwareSampler: {unlabelled} pictures without a label are never drawn', 'current')
    return [indices[places] for places in _places(labels, labels.max() + 1) if len(places)]


def _places(values: np.ndarray, size: int) -> list[np.ndarray]:
    """Where each of 0 to ``size`` - 1 stands among the values."""
    ends = np.bincount(values, minlength=size).cumsum()
    return np.split(np.argsort(values, kind='stable'), ends[:-1])

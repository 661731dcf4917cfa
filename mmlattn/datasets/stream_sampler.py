"""An endless order of samples that knows where it is."""

from collections.abc import Iterator
from itertools import islice

from mmengine.dataset import InfiniteSampler

from mmlattn.registry import DATA_SAMPLERS
from mmlattn.utils.errors import UserError

__all__ = ['StreamIndex', 'StreamSampler']


class StreamIndex(int):
    """The index of a sample that also knows its place in the stream.

    Args:
        index (int): Index into the data set.
        position (int): How many samples all processes together drew before this one.
    """

    position: int

    def __new__(cls, index: int, position: int) -> 'StreamIndex':
        self = super().__new__(cls, index)
        self.position = position
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        return int(self), self.position


@DATA_SAMPLERS.register_module()
class StreamSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler`` with numbered indices that can start anywhere.

    The order is the parent's: one permutation after another, a function of the seed alone, dealt out to the
    processes in turn. The position tells ``SeededDataset`` apart the visits to one image, and ``skip`` lets
    a resumed run continue the stream without loading what was used before.

    Args:
        dataset (Sized): The data set.
        shuffle (bool): Whether to shuffle. Defaults to True.
        seed (int, optional): Seed of the order, the same in all processes. Drawn and shared if None.
    """

    _skipped = 0

    def skip(self, num_samples: int) -> None:
        """Start the next iteration after ``num_samples`` samples of this process, counted from the beginning.

        Raises:
            UserError: If ``num_samples`` is negative.
        """
        if num_samples < 0:
            raise UserError(f'cannot skip {num_samples} samples: expected 0 or more')
        self._skipped = num_samples

    def __iter__(self) -> Iterator[StreamIndex]:
        """Iterate from the current start; every call begins there anew."""
        first = self.rank + self._skipped * self.world_size
        numbered = islice(enumerate(self._infinite_indices()), first, None, self.world_size)
        return (StreamIndex(index, position) for position, index in numbered)

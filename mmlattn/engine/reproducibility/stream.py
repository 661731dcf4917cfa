"""Training counted in iterations: an endless stream of samples, numbered, that goes on where a checkpoint stopped."""

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from mmlattn.registry import DATA_SAMPLERS, LOOPS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError


class StreamIndex(int):
    """The index of a sample that knows its position: how many samples all processes together drew before it."""

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

    The order is the parent's: one permutation after another, a function of the seed alone, dealt out to the processes
    in turn. The position tells ``SeededDataset`` apart the visits to one image. Takes the parent's arguments.
    """

    #: Whether indices are each a ``StreamIndex``.
    numbers_visits = True
    _skipped = 0

    def skip(self, num_samples: int) -> None:
        """Start the next iteration after ``num_samples`` samples of this process, counted from the beginning."""
        if num_samples < 0:
            raise UserError(f'cannot skip {num_samples} samples: expected 0 or more')
        self._skipped = num_samples

    def __iter__(self) -> Iterator[StreamIndex]:
        """Iterate from the current start; every call begins there anew."""
        first = self.rank + self._skipped * self.world_size
        numbered = islice(enumerate(self._infinite_indices()), first, None, self.world_size)
        return (StreamIndex(index, position) for position, index in numbered)


@LOOPS.register_module()
class StreamTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, whose data stream goes on where it stopped.

    The loop of mmengine 0.10.7 starts its workers before a resume is known, and then loads and drops every batch used
    before. Here the sampler skips them unloaded, on every version. A validation that a kill prevented is made up for:
    ``validated`` is the iteration after which it last validated. Takes the parent's arguments.
    """

    validated: int | None = None

    def __init__(
        self, runner, dataloader, max_iters: int, val_begin: int = 1, val_interval: int = 1000, **kwargs
    ):
        check_number('train_cfg.max_iters', max_iters, 1)
        check_number('train_cfg.val_interval', val_interval, 1)
        super().__init__(runner, dataloader, max_iters, val_begin, val_interval, **kwargs)

    def run(self) -> nn.Module:
        """Launch training."""
        self.runner.call_hook('before_train')
        # As in the parent, the whole training is one epoch to the hooks.
        self.runner.call_hook('before_train_epoch')
        if self._iter:
            self._validate_where_due()
        batches = self._remaining_batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate_where_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _validate_where_due(self) -> None:
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is None or self._iter < self.val_begin or not due:
            return
        if self.validated != self._iter:
            self.runner.val_loop.run()

    def _remaining_batches(self) -> Iterator:
        """Iterate the batches not trained on yet."""
        # Releases workers that the parent may have started.
        self.dataloader_iterator = None
        loader = self.dataloader
        # Tools that only draw the schedule give a list in place of a loader.
        sampler = getattr(loader, 'sampler', None)
        if hasattr(sampler, 'skip') and loader.batch_size is not None:
            sampler.skip(self._iter * loader.batch_size)
            return iter(loader)
        # Any other sampler, or batch sampler, says where it stands only by drawing.
        batches = _endlessly(loader)
        for _ in range(self._iter):
            next(batches)
        return batches


def _endlessly(loader: Iterable) -> Iterator[Any]:
    """The batches of one pass after another; as in mmengine, a sampler learns which pass it is."""
    batches = getattr(loader, 'batch_sampler', None)
    sampler = getattr(batches, 'sampler', getattr(loader, 'sampler', None))
    for number in count():
        if number and hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(number)
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise UserError('train_dataloader gives no batch: set a smaller batch_size, or drop_last=False')

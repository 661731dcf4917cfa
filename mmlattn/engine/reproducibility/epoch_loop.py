"""Training counted in epochs, that goes on inside an epoch where a checkpoint stopped."""

from collections.abc import Iterator
from itertools import islice

from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from mmlattn.registry import LOOPS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError


class SkippingBatches:
    """The batches of a sampler, of which the first ``skipped`` are left out once.

    Args:
        batches: A ``batch_sampler``; its other attributes are found here too.
    """

    def __init__(self, batches) -> None:
        self.batches = batches
        self.skipped = 0

    def __iter__(self) -> Iterator[list[int]]:
        """Iterate the rest of an epoch, and from then on whole ones."""
        # A generator, since torch asks for an iterator more than it uses.
        first, self.skipped = self.skipped, 0
        yield from islice(self.batches, first, None)

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batches)

    def __getattr__(self, name: str):
        if name == 'batches':
            raise AttributeError(name)
        return getattr(self.batches, name)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop; a run resumed inside an epoch goes on with the next batch, and does no validation too few.

    ``validated`` is the epoch after which it last validated. ``ReproducibilityHook`` saves it. Takes the parent's
    arguments.
    """

    validated: int | None = None

    def __init__(
        self, runner, dataloader, max_epochs: int, val_begin: int = 1, val_interval: int = 1, **kwargs
    ):
        check_number('train_cfg.max_epochs', max_epochs, 1)
        check_number('train_cfg.val_interval', val_interval, 1)
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, **kwargs)
        if not len(self.dataloader):
            raise UserError('train_dataloader gives no batch: set a smaller batch_size, or drop_last=False')

    def run(self) -> nn.Module:
        """Launch training."""
        self.runner.call_hook('before_train')
        batches = getattr(self.dataloader, 'batch_sampler', None)
        if batches is not None and not isinstance(batches, SkippingBatches):
            # Set once, for iterators keep it; torch's own setter refuses.
            vars(self.dataloader)['batch_sampler'] = SkippingBatches(batches)
        if self._epoch and self._iter == self._epoch * len(self.dataloader):
            self._validate_where_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_where_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate what is left of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self.steps_done()
        for index, batch in enumerate(self._remaining_batches(done), start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def steps_done(self) -> int:
        """Steps of this epoch that lie behind; 0 where the count fits no epoch of this length."""
        steps = len(self.dataloader)
        done = self._iter - self._epoch * steps
        return done if 0 <= done <= steps else 0

    def _remaining_batches(self, done: int) -> Iterator:
        if done == len(self.dataloader):
            return iter(())
        batches = getattr(self.dataloader, 'batch_sampler', None)
        if isinstance(batches, SkippingBatches):
            batches.skipped, done = done, 0
        return islice(self.dataloader, done, None)

    def _validate_where_due(self) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is None or self._epoch < self.val_begin or not due:
            return
        if self.validated != self._epoch:
            self.runner.val_loop.run()

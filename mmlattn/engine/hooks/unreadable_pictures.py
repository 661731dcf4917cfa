"""What a run does about pictures that cannot be read."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook

from mmlattn.datasets.unreadable_pictures import (
    ON_ERROR,
    STANDS_IN,
    PictureGuard,
    guard_pictures,
    why_unreadable,
)
from mmlattn.registry import HOOKS
from mmlattn.utils.arguments import check_choice


@HOOKS.register_module()
class UnreadablePicturesHook(Hook):
    """Names a picture that cannot be read, and with ``on_error='skip'`` goes on without it.

    In training another picture takes the place, chosen by seed, epoch and index, so epochs keep their length and a
    resumed run equals one that never stopped. In validation and testing such pictures are in no metric and in no
    dumped prediction; ``pictures/left_out`` among the metrics is their number. The log lists them at the end of each
    epoch.

    Args:
        on_error (str): ``'raise'`` (default) or ``'skip'``.
    """

    # Before the metrics are noted for the log.
    priority = 'HIGHEST'

    def __init__(self, on_error: str = 'raise') -> None:
        check_choice('on_error of default_hooks.pictures', on_error, ON_ERROR)
        self.on_error = on_error
        self._guards: dict[str, list[PictureGuard]] = {}

    def before_train(self, runner) -> None:
        """Guard the data. Workers start later."""
        dataset = runner.train_dataloader.dataset
        # mmengine's slice, from num_batch_per_epoch, holds it as _dataset.
        dataset = getattr(dataset, '_dataset', dataset)
        self._guards['train'] = guard_pictures(dataset, self.on_error, training=True)

    def before_val(self, runner) -> None:
        """Guard the data and, where pictures are skipped, the metrics."""
        self._guard_loop(runner.val_loop, 'val')

    def before_test(self, runner) -> None:
        """As :meth:`before_val`."""
        self._guard_loop(runner.test_loop, 'test')

    def after_train_epoch(self, runner) -> None:
        """Say what was skipped."""
        self._report(runner, 'train', 'others take their places')

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Say what was skipped, among the metrics too."""
        self._report(runner, 'val', 'they are in no metric', metrics)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """As :meth:`after_val_epoch`."""
        self._report(runner, 'test', 'they are in no metric', metrics)

    def _guard_loop(self, loop, mode: str) -> None:
        self._guards[mode] = guard_pictures(loop.dataloader.dataset, self.on_error, training=False)
        if self.on_error == 'skip' and not isinstance(loop.evaluator, _ReadablesEvaluator):
            loop.evaluator = _ReadablesEvaluator(loop.evaluator)

    def _report(self, runner, mode: str, meaning: str, metrics: dict | None = None) -> None:
        if self.on_error != 'skip':
            return
        found = [path for guard in self._guards[mode] for path in guard.paths()]
        paths = sorted({path for part in all_gather_object(found) for path in part})
        if metrics is not None:
            metrics['pictures/left_out'] = len(paths)
        if paths:
            first = '; '.join(f'{path}: {why_unreadable(path)}' for path in paths[:5])
            more = ' ...' if len(paths) > 5 else ''
            number = sum(len(guard.dataset) for guard in self._guards[mode])
            runner.logger.warning(
                f'{len(paths)} of {number} pictures of {mode}_dataloader can not be read, and {meaning}: '
                f'{first}{more}'
            )


class _ReadablesEvaluator(Evaluator):
    """Another evaluator, whose metrics see no sample that stands in for a picture."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator.metrics)
        # The same list, so that a metric added to either is in both.
        self.metrics = evaluator.metrics
        self._evaluator = evaluator

    @property
    def dataset_meta(self) -> dict | None:
        return self._evaluator.dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, value: dict) -> None:
        self._evaluator.dataset_meta = value

    def process(self, data_samples: Sequence, data_batch: Any = None) -> None:
        readable = [sample for sample in data_samples if STANDS_IN not in sample]
        if readable:
            self._evaluator.process(readable, data_batch)

    def evaluate(self, size: int) -> dict:
        return self._evaluator.evaluate(size)

"""Where several processes bring their results together."""

import os.path as osp

from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook

from mmlattn.registry import HOOKS


@HOOKS.register_module()
class CollectDirHook(Hook):
    """Collect the results of several processes in the run's own log directory.

    mmengine would do so in ``.dist_test`` in the current directory and leave that behind. Metrics that collect
    on the device, or have a ``collect_dir``, are left alone.
    """

    def before_val_epoch(self, runner) -> None:
        """Set the directory."""
        _set_collect_dir(runner.val_evaluator, runner.log_dir)

    def before_test_epoch(self, runner) -> None:
        """Set the directory."""
        _set_collect_dir(runner.test_evaluator, runner.log_dir)


def _set_collect_dir(evaluator: Evaluator, log_dir: str) -> None:
    for number, metric in enumerate(evaluator.metrics):
        if metric.collect_device == 'cpu' and metric.collect_dir is None:
            metric.collect_dir = osp.join(log_dir, f'.collect{number}')

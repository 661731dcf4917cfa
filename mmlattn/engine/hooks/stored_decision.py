"""Testing by the decision that is kept with the weights."""

from collections.abc import Callable
from contextlib import suppress

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmpretrain.evaluation import MultiLabelMetric

from mmlattn.engine.hooks.class_names import compare_classes
from mmlattn.models.views.stored_decision import announce, apply_decision, fitting_decision
from mmlattn.registry import HOOKS
from mmlattn.utils.arguments import check_number
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import network


@HOOKS.register_module()
class StoredDecisionHook(Hook):
    """Tests with the calibration and the thresholds that ``tune_thresholds.py`` stored in the checkpoint.

    ``pred_score`` and ``pred_label`` of what the model predicts are theirs, and so is what metrics read:
    ``MultiLabelReport`` takes the thresholds in the place of its own. Validation during a training stays as it is:
    its weights are others. ``tools/test.py`` adds this hook.

    Args:
        threshold (float, optional): One for all classes in the place of the stored ones, with or without a decision.
        ignore (bool): Leave the stored decision out.
    """

    # After CompleteWeightsHook, which tools/test.py adds before it: the weights are then known to fit.
    priority = 'LOWEST'

    def __init__(self, threshold: float | None = None, ignore: bool = False) -> None:
        if threshold is not None:
            check_number('threshold', threshold, 0, 1)
        self.threshold, self.ignore, self.decision = threshold, ignore, None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Read the decision.

        Raises:
            UserError: If it does not fit the model.
        """
        name = str(runner._load_from or 'the checkpoint')
        if not self.ignore:
            self.decision = fitting_decision(network(runner.model), checkpoint, name)
            announce(self.decision, name, self.threshold)

    def before_test(self, runner) -> None:
        """Put the decision behind the model's test step, and its thresholds into the metrics.

        Raises:
            UserError: If the data have other classes.
        """
        if self.decision is None and self.threshold is None:
            return
        loop = runner.test_loop
        classes = (getattr(loop.dataloader.dataset, 'metainfo', None) or {}).get('classes') or ()
        if self.decision is not None:
            compare_classes(self.decision.classes, classes, 'the stored decision', 'test_dataloader')
        thresholds = self.threshold if self.threshold is not None else self.decision.thresholds
        for metric in loop.evaluator.metrics if thresholds != () else ():
            if hasattr(metric, 'use_thresholds'):
                metric.use_thresholds(thresholds)
            elif isinstance(metric, MultiLabelMetric):
                print_log(
                    f'{type(metric).__name__} keeps its own thr or topk; take mmlattn.MultiLabelReport for the '
                    'numbers at these thresholds',
                    'current',
                )
        runner.model.test_step = self._deciding(runner.model.test_step)

    def after_test(self, runner, metrics=None) -> None:
        """Give the model its own test step back."""
        with suppress(AttributeError):
            del runner.model.test_step

    def _deciding(self, test_step: Callable) -> Callable:
        def decide(data):
            samples = test_step(data)
            if any('pred_score' not in sample for sample in samples):
                raise UserError('a data sample has no pred_score, so no threshold can be applied')
            return apply_decision(samples, self.decision, self.threshold)

        return decide

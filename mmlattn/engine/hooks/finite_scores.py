"""A model that gives no numbers is not evaluated."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmpretrain.structures import DataSample

from mmlattn.registry import HOOKS
from mmlattn.structures.finite_scores import check_scores


@HOOKS.register_module()
class FiniteScoresHook(Hook):
    """Ends validation and testing at the first picture whose scores are no finite numbers, and names it.

    Metrics would rank what cannot be ranked, and a label would still be predicted: the first class of a softmax, one
    class several times by beam search.
    """

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs: Sequence = ()) -> None:
        """Look at the scores of a batch; samples of detectors have none."""
        check_scores([sample for sample in outputs or () if isinstance(sample, DataSample)])

    after_test_iter = after_val_iter

"""Drawing predictions and evidence during validation and testing."""

from collections.abc import Sequence

from mmengine.model import is_model_wrapper
from mmpretrain.engine import VisualizationHook
from mmpretrain.structures import DataSample

from mmlattn.registry import HOOKS

__all__ = ['EvidenceVisualizationHook']


@HOOKS.register_module()
class EvidenceVisualizationHook(VisualizationHook):
    """mmpretrain's hook, with the colours of the file.

    The pictures of a batch are in the order in which they were loaded, BGR for mmcv, and the stock hook hands
    them to a visualiser that draws RGB. Here they are turned where the model's preprocessor turns them too.
    Arguments are the parent's: ``enable``, ``interval``, ``show``, ``out_dir`` and the visualiser's.
    """

    def after_val_iter(self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Draw every ``interval``-th sample of validation."""
        super().after_val_iter(runner, batch_idx, _in_rgb(runner, data_batch), outputs)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw every ``interval``-th sample of testing."""
        super().after_test_iter(runner, batch_idx, _in_rgb(runner, data_batch), outputs)


def _in_rgb(runner, data_batch: dict) -> dict:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not getattr(model.data_preprocessor, 'to_rgb', False):
        return data_batch
    return {**data_batch, 'inputs': [image.flip(0) for image in data_batch['inputs']]}

"""Drawing predictions and evidence during validation and testing."""

from collections.abc import Sequence
from contextlib import ExitStack

from mmengine.model import BaseTTAModel
from mmpretrain.engine import VisualizationHook
from mmpretrain.structures import DataSample

from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.registry import HOOKS
from mmlattn.structures import set_trunk_masks
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import without_wrapper


@HOOKS.register_module()
class EvidenceVisualizationHook(VisualizationHook):
    """mmpretrain's hook, with the colours of the file.

    The pictures of a batch are in the order in which they were loaded, BGR for mmcv, and the stock hook hands
    them to a visualizer that draws RGB. Here they are turned where the model's preprocessor turns them too.

    Args:
        trunk_masks (bool): Draw the soft masks of the model's attention modules too. They are recorded here, as
            the backbone that makes them predicts nothing.
        *args, **kwargs: ``enable``, ``interval``, ``show``, ``out_dir`` and the visualizer's, as for the parent.
    """

    def __init__(self, *args, trunk_masks: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.trunk_masks = trunk_masks
        self._recording = ExitStack()
        self._masks = None

    def before_val(self, runner) -> None:
        """Begin to record masks; raises ``UserError`` if the model has none that lie over the picture."""
        if self.enable and self.trunk_masks:
            model = without_wrapper(runner.model)
            if 'backbone' not in dict(model.named_children()):  # RACNN names the first of its networks so
                raise UserError(
                    f'{type(model).__name__} shows its networks more than the picture as it is drawn, such as crops '
                    'or flips, so their masks do not lie over it; set trunk_masks=False in EvidenceVisualizationHook'
                )
            self._masks = self._recording.enter_context(record_masks(model))

    before_test = before_val

    def after_val(self, runner) -> None:
        """End it."""
        self._recording.close()
        self._masks = None

    after_test = after_val

    def after_val_iter(self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Draw every ``interval``-th sample of validation."""
        self._add_masks(outputs)
        super().after_val_iter(runner, batch_idx, _in_rgb(runner, data_batch), outputs)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw every ``interval``-th sample of testing."""
        self._add_masks(outputs)
        super().after_test_iter(runner, batch_idx, _in_rgb(runner, data_batch), outputs)

    def _add_masks(self, outputs: Sequence[DataSample]) -> None:
        if self._masks is not None:
            set_trunk_masks(outputs, self._masks)


def _in_rgb(runner, data_batch: dict) -> dict:
    images, model = data_batch['inputs'], without_wrapper(runner.model)
    if isinstance(model, BaseTTAModel):
        # Of several views the first, whose sample the merged one is.
        images = images[0]
    if getattr(model.data_preprocessor, 'to_rgb', False):
        images = [image.flip(0) for image in images]
    return {**data_batch, 'inputs': images}

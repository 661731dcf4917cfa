"""Drawing predictions and evidence during validation and testing."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.model import BaseTTAModel
from mmpretrain.engine import VisualizationHook
from mmpretrain.structures import DataSample

from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.registry import HOOKS
from mmlattn.structures import set_trunk_masks
from mmlattn.utils.arrays import for_the_eye
from mmlattn.utils.drawings import check_drawings, drawing_names, free_file
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import without_wrapper


@HOOKS.register_module()
class EvidenceVisualizationHook(VisualizationHook):
    """mmpretrain's hook, with the colours of the file.

    The pictures of a batch are in the order in which they were loaded, BGR for mmcv, and the stock hook hands
    them to a visualizer that draws RGB. Here they are turned, those of a data set of arrays where the model's
    preprocessor turns them too. Drawings in ``out_dir`` keep the folders that the pictures do not share; those of a
    test replace none that are there.

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
        self._named, self._drawings = None, []
        self._names: dict[str, Path] = {}
        self._count = 0

    def before_val(self, runner) -> None:
        """Begin to record masks; raises ``UserError`` if the model has none that lie over the picture."""
        self._record(runner)
        if self.enable:
            self._name_drawings(runner.val_loop.dataloader.dataset)

    def before_test(self, runner) -> None:
        """As :meth:`before_val`; raises ``UserError`` if a drawing would replace a file, too."""
        self._record(runner)
        if self.enable:
            names = self._name_drawings(runner.test_loop.dataloader.dataset)
            if self.out_dir is not None and is_main_process():
                check_drawings(names, Path(self.out_dir), '--show-dir (out_dir of the hook)')

    def _record(self, runner) -> None:
        if self.enable and self.trunk_masks:
            model = without_wrapper(runner.model)
            if 'backbone' not in dict(model.named_children()):  # RACNN names the first of its networks so
                raise UserError(
                    f'{type(model).__name__} shows its networks more than the picture as it is drawn, such as crops '
                    'or flips, so their masks do not lie over it; set trunk_masks=False in EvidenceVisualizationHook'
                )
            self._masks = self._recording.enter_context(record_masks(model))

    def after_val(self, runner) -> None:
        """End it."""
        self._recording.close()
        self._masks = None

    after_test = after_val

    def after_val_iter(self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]) -> None:
        """Draw every ``interval``-th sample of validation."""
        self._add_masks(outputs)
        super().after_val_iter(runner, batch_idx, _in_rgb(runner, data_batch, outputs), outputs)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict, outputs: Sequence[DataSample]
    ) -> None:
        """Draw every ``interval``-th sample of testing."""
        self._add_masks(outputs)
        super().after_test_iter(runner, batch_idx, _in_rgb(runner, data_batch, outputs), outputs)

    def _name_drawings(self, dataset) -> list[Path]:
        """Names for the pictures of a data set, by path; numbers where it has no files."""
        self._count = 0
        # A training validates the same data again and again.
        if dataset is not self._named:
            paths, self._named = _picture_paths(dataset), dataset
            self._drawings = drawing_names(paths or range(len(dataset)))
            self._names = dict(zip(paths, self._drawings, strict=True)) if paths else {}
        return self._drawings

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        """Draw each ``interval``-th; the stock hook counts wrongly in a last batch that is smaller."""
        if not self.enable:
            return
        for image, sample in zip(data_batch['inputs'], data_samples, strict=True):
            number, self._count = self._count, self._count + 1
            if number % self.interval:
                continue
            path = sample.get('img_path', number)
            name = self._names.get(path) or drawing_names([path])[0]
            options = dict(self.draw_args, name='_'.join(name.with_suffix('').parts), step=step)
            if self.out_dir is not None:
                file = Path(self.out_dir, name)
                file = file.with_stem(f'{file.stem}_{step}') if step else file
                options['out_file'] = str(free_file(file))
            self._visualizer.visualize_cls(image=for_the_eye(image), data_sample=sample, **options)

    def _add_masks(self, outputs: Sequence[DataSample]) -> None:
        if self._masks is not None:
            set_trunk_masks(outputs, self._masks)


def _picture_paths(dataset) -> list[str]:
    """Files of a data set, also inside of wrappers; none where it keeps arrays."""
    if not hasattr(dataset, 'get_data_info') or not len(dataset):
        return []
    if 'img_path' not in dataset.get_data_info(0):
        return []
    paths = (dataset.get_data_info(index).get('img_path') for index in range(len(dataset)))
    return [path for path in paths if path is not None]


def _in_rgb(runner, data_batch: dict, outputs: Sequence[DataSample]) -> dict:
    images, model = data_batch['inputs'], without_wrapper(runner.model)
    if isinstance(model, BaseTTAModel):
        # Of several views the first, whose sample the merged one is.
        images = images[0]
    from_files = all('img_path' in sample for sample in outputs)
    if from_files or getattr(model.data_preprocessor, 'to_rgb', False):
        images = [image.flip(0) if len(image) == 3 else image for image in images]
    return {**data_batch, 'inputs': images}

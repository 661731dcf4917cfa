"""Constraints on decoded labels, while validating and testing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmengine.hooks import Hook
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.data import Dataset

from mmlattn.models.views.multi_crop_classifier import MultiCropClassifier
from mmlattn.registry import HOOKS
from mmlattn.structures import KnownLabels, read_known_labels, set_known_labels
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import network


@HOOKS.register_module()
class LabelConstraintsHook(Hook):
    """Lets a label decoder know what is known of the pictures it is tested on, and which labels go together.

    The rules for all pictures join those of the head's own ``test_cfg``, during the run only; what is known of single
    pictures is written to their data samples.

    Args:
        file (str): Path of the json, see ``mmlattn.structures.read_known_labels``; labels are the class names of the
            data set, or indices.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._run = ExitStack()

    def before_val(self, runner) -> None:
        """Read the file, and find its pictures in the data.

        Raises:
            UserError: If the model takes no constraints, or they do not fit the model or the data.
        """
        self._begin(runner.model, runner.val_loop.dataloader.dataset)

    def before_test(self, runner) -> None:
        """As :meth:`before_val`."""
        self._begin(runner.model, runner.test_loop.dataloader.dataset)

    def _begin(self, model: nn.Module, dataset: Dataset) -> None:
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        known = self._run.enter_context(constrained(model, self.file, classes))
        self._rules, self._pictures, self._unused = known.rules, {}, ''
        if known.images:
            self._pictures, self._unused = known.match(_paths(dataset))
            if not self._pictures:
                raise UserError(f'{self._unused}. Name the pictures of the data by file name or path')

    def before_val_iter(self, runner, batch_idx: int, data_batch: dict) -> None:
        """Write what is known to the data samples of a batch."""
        for sample in _samples(data_batch['data_samples']):
            if self._pictures and 'img_path' not in sample:
                raise UserError(
                    'the data samples do not tell their img_path, by which constraints are found: add it to '
                    'meta_keys of PackInputs'
                )
            set_known_labels(sample, self._pictures.get(str(sample.get('img_path')), self._rules))

    before_test_iter = before_val_iter

    def after_val(self, runner) -> None:
        """Give the head its own rules back, and tell which pictures were not there."""
        self._run.close()
        if self._unused:
            runner.logger.warning(self._unused)

    after_test = after_val


@contextmanager
def constrained(
    model: nn.Module, content: Mapping | str | Path, classes: Sequence[str] | None = None
) -> Iterator[KnownLabels]:
    """Constrain the decoder of a model for a while; ``content`` and ``classes`` as for ``read_known_labels``.

    The model, inside of any wrapper, must be a classifier whose head has ``rules``.

    Yields:
        KnownLabels: What is still to be written to the data samples.

    Raises:
        UserError: If the model takes no constraints, or they do not fit it.
    """
    model = network(model)
    head = getattr(model, 'head', None)
    if not hasattr(head, 'rules'):
        raise UserError(
            f'{type(model if head is None else head).__name__} takes no constraints; label decoders such as '
            'CNNRNNHead do'
        )
    if isinstance(model, MultiCropClassifier) and model.crops is not None:
        raise UserError(
            'constraints say what is in a picture, not in crops of it: set crops=None in the model'
        )
    before = head.rules
    known = read_known_labels(content, head.num_classes, classes, before)
    head.rules = known.rules
    try:
        yield known
    finally:
        head.rules = before


def _paths(dataset: Dataset) -> list[str]:
    """Where the pictures of a data set are, those that come from files."""
    if not hasattr(dataset, 'get_data_info'):
        raise UserError(
            f'{type(dataset).__name__} does not tell the files of its pictures (get_data_info), by which constraints '
            'are found; leave images out of the constraints'
        )
    paths = (dataset.get_data_info(index).get('img_path') for index in range(len(dataset)))
    return [str(path) for path in paths if path is not None]


def _samples(batch: Sequence) -> Iterator[DataSample]:
    """The data samples of a batch, which test-time augmentation nests by augmentation."""
    for item in batch:
        yield from _samples(item) if isinstance(item, Sequence) else [item]

"""Class names travel with the weights and must agree with the data."""

from collections.abc import Iterator, Sequence

from mmengine.hooks import Hook

from mmlattn.models.views.decision import head_of
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import network

IF_MEANT = "if this is meant, set custom_hooks=[..., dict(type='mmlattn.ClassNamesHook', enabled=False)]"


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Refuses data or a checkpoint with other classes than the training data, or the same in another order.

    mmengine writes the data set's class names into every checkpoint but never reads them back, and never compares the
    splits, so a model with the right number of outputs and the wrong names would run without a word. Where a
    checkpoint has another number of classes, its classifier doesn't load at all, as usual when fine-tuning, and the
    names don't matter.

    Args:
        enabled (bool): Whether to compare; the tools add this hook where a config has none.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def before_run(self, runner) -> None:
        """Compare the splits in use, and their number of classes with that of the model."""
        if not self.enabled:
            return
        classes = dict(_classes_of_loops(runner))
        for mode in ('val', 'test'):
            compare_classes(
                classes.get('train', ()), classes.get(mode, ()), 'the training data', f'{mode}_dataloader'
            )
        for mode, data in dict(train='training', val='validation', test='test').items():
            _check_outputs(runner, mode, f'the {data} data')

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the names in the checkpoint with those of the data."""
        if not self.enabled:
            return
        stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        for mode, names in _classes_of_loops(runner):
            compare_classes(stored.get('classes') or (), names, 'the checkpoint', f'{mode}_dataloader')


def compare_classes(expected: Sequence[str], names: Sequence[str], holder: str, where: str) -> None:
    """Check that two lists of as many class names are the same; lists of other lengths are not compared.

    Args:
        expected (Sequence[str]): Names that the weights go by.
        names (Sequence[str]): Names of the data at hand.
        holder (str): What has the first, for the message.
        where (str): What has the second, for the message.

    Raises:
        UserError: If they differ; names the first difference.
    """
    expected, names = list(expected), list(names)
    if len(expected) != len(names) or expected == names:
        return
    index = next(i for i, (a, b) in enumerate(zip(expected, names, strict=True)) if a != b)
    reason = 'in another order' if sorted(expected) == sorted(names) else 'with other names'
    raise UserError(
        f'{holder} has the {len(names)} classes of {where} {reason}: class {index} is {expected[index]!r} in '
        f'{holder} and {names[index]!r} in {where}. Give the data set metainfo=dict(classes=[...]) in the order of '
        f'{holder}; {IF_MEANT}'
    )


def _check_outputs(runner, mode: str, where: str) -> None:
    model, classes = network(runner.model), dict(_classes_of_loops(runner)).get(mode)
    head, preprocessor = head_of(model), getattr(model, 'data_preprocessor', None)
    outputs = getattr(head, 'num_classes', None)
    if classes and outputs is not None and outputs != len(classes):
        raise UserError(
            f'{type(head).__name__} has num_classes={outputs}, {where} {len(classes)} classes: set '
            f'num_classes of model.head and of data_preprocessor to the number of classes; {IF_MEANT}'
        )
    makes_targets = getattr(preprocessor, 'to_onehot', False) or getattr(preprocessor, 'batch_augments', None)
    targets = preprocessor.num_classes if makes_targets else None
    if outputs is not None and targets not in (None, outputs):
        raise UserError(
            f'data_preprocessor has num_classes={targets}, {type(head).__name__} {outputs}: set both to the number '
            f'of classes; {IF_MEANT}'
        )


def _classes_of_loops(runner) -> Iterator[tuple[str, Sequence[str]]]:
    """Class names of the data of every loop that is built; the others are not used in this run."""
    for mode in ('train', 'val', 'test'):
        loader = getattr(getattr(runner, f'_{mode}_loop', None), 'dataloader', None)
        if loader is not None:
            metainfo = getattr(loader.dataset, 'metainfo', None) or {}
            yield mode, metainfo.get('classes') or ()

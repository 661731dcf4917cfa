"""Class names travel with the weights and must agree with the data."""

from collections.abc import Iterator, Sequence

from mmengine.hooks import Hook

from mmlattn.models.views.decision import head_of
from mmlattn.registry import HOOKS
from mmlattn.utils.errors import UserError
from mmlattn.utils.wrappers import without_wrapper

__all__ = ['ClassNamesHook', 'compare_classes']


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Refuses data or a checkpoint with other classes than the training data, or the same in another order.

    mmengine writes the data set's class names into every checkpoint but never reads them back, and never
    compares the splits, so a model with the right number of outputs and the wrong names would run without a
    word. Where a checkpoint has another number of classes, its classifier doesn't load at all, as usual when
    fine-tuning, and the names don't matter.

    Args:
        enabled (bool): Whether to compare; the tools add this hook where a config has none. Defaults to True.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled

    def before_train(self, runner) -> None:
        """Compare the splits.

        Raises:
            UserError: If validation data has other classes than the training data, or the head another number.
        """
        if not self.enabled:
            return
        classes = dict(_classes_of_loops(runner))
        for mode in ('val', 'test'):
            compare_classes(
                classes.get('train', ()), classes.get(mode, ()), 'the training data', f'{mode}_dataloader'
            )
        _check_outputs(runner.model, classes.get('train', ()))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the names in the checkpoint with those of the data.

        Raises:
            UserError: If the checkpoint has as many classes as the data, under other names.
        """
        if not self.enabled:
            return
        stored = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        for mode, own in _classes_of_loops(runner):
            compare_classes(stored.get('classes') or (), own, 'the checkpoint', f'{mode}_dataloader')


def compare_classes(reference: Sequence[str], own: Sequence[str], holder: str, where: str) -> None:
    """Check that two lists of as many class names are the same; lists of other lengths are not compared.

    Args:
        reference (Sequence[str]): Names that the weights go by.
        own (Sequence[str]): Names of the data at hand.
        holder (str): What has ``reference``, for the message.
        where (str): What has ``own``, for the message.

    Raises:
        UserError: If they differ; names the first difference.
    """
    reference, own = list(reference), list(own)
    if len(reference) != len(own) or reference == own:
        return
    index = next(i for i, (a, b) in enumerate(zip(reference, own, strict=True)) if a != b)
    reason = 'in another order' if sorted(reference) == sorted(own) else 'with other names'
    raise UserError(
        f'{holder} has the {len(own)} classes of {where} {reason}: class {index} is {reference[index]!r} in '
        f'{holder} and {own[index]!r} in {where}. Give the data set metainfo=dict(classes=[...]) in the order of '
        f'{holder}; if this is meant, '
        "set custom_hooks=[..., dict(type='mmlattn.ClassNamesHook', enabled=False)]"
    )


def _check_outputs(model, classes: Sequence[str]) -> None:
    head = head_of(without_wrapper(model))
    outputs = getattr(head, 'num_classes', None)
    if classes and outputs is not None and outputs != len(classes):
        raise UserError(
            f'{type(head).__name__} has num_classes={outputs}, the training data {len(classes)} classes: set '
            'num_classes of model.head and of data_preprocessor to the number of classes'
        )


def _classes_of_loops(runner) -> Iterator[tuple[str, Sequence[str]]]:
    """Class names of the data of every loop that is built; the others are not used in this run."""
    for mode in ('train', 'val', 'test'):
        loader = getattr(getattr(runner, f'_{mode}_loop', None), 'dataloader', None)
        if loader is not None:
            metainfo = getattr(loader.dataset, 'metainfo', None) or {}
            yield mode, metainfo.get('classes') or ()

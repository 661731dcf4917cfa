"""Class names travel with the weights and must agree with the data."""

from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmlattn.registry import HOOKS

__all__ = ['ClassNamesHook']


@HOOKS.register_module()
class ClassNamesHook(Hook):
    """Refuses a checkpoint trained on other classes, or on the same in another order.

    mmengine writes the data set's class names into every checkpoint but never reads them back, so a model with
    the right number of outputs and the wrong names would load without a word. Where the number differs, the
    classifier doesn't load at all, as usual when fine-tuning, and the names don't matter.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Compare the names.

        Raises:
            ValueError: If the checkpoint has as many classes as the data, under other names.
        """
        stored = _classes((checkpoint.get('meta') or {}).get('dataset_meta'))
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            loader = getattr(runner, f'_{name}', None)
            if isinstance(loader, DataLoader):  # a config not built yet is not used in this run
                _compare(stored, _classes(getattr(loader.dataset, 'metainfo', None)), name)


def _classes(metainfo: dict | None) -> tuple[str, ...]:
    return tuple((metainfo or {}).get('classes') or ())


def _compare(stored: tuple[str, ...], own: tuple[str, ...], loader: str) -> None:
    if len(stored) != len(own) or stored == own:
        return
    index = next(i for i, (a, b) in enumerate(zip(stored, own, strict=True)) if a != b)
    reason = 'in another order' if sorted(stored) == sorted(own) else 'with other names'
    raise ValueError(
        f'the checkpoint was trained on {len(stored)} classes {reason}: class {index} is {stored[index]!r} in it '
        f'and {own[index]!r} in {loader}. Give the data set metainfo=dict(classes=...) in the order of the '
        'checkpoint; to use its weights for other classes all the same, take ClassNamesHook out of custom_hooks'
    )

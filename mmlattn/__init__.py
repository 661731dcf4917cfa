"""Attention models for OpenMMLab 2.x; ``import mmlattn`` is light, subpackages are imported when first used."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from mmlattn.utils.configs import config_names, config_path
from mmlattn.utils.versions import check_frameworks

from .version import __version__

__all__ = ['__version__', 'config_names', 'config_path']

_SUBPACKAGES = (
    'apis', 'datasets', 'engine', 'evaluation', 'hub', 'models', 'register', 'registry', 'structures', 'utils',
    'visualization',
)  # fmt: skip

#: Functions that are imported when they are first used.
_FUNCTIONS = {
    'from_pretrained': 'hub.remote', 'push_to_hub': 'hub.remote', 'save_pretrained': 'hub.folders',
}  # fmt: skip

check_frameworks()


def __getattr__(name: str) -> ModuleType | Callable:
    if name in _SUBPACKAGES:
        return import_module(f'mmlattn.{name}')
    if name in _FUNCTIONS:
        return getattr(import_module(f'mmlattn.{_FUNCTIONS[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBPACKAGES, *_FUNCTIONS})

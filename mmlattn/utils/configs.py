"""Our configs by name, in a checkout and where the package is installed."""

import difflib
from pathlib import Path

from .errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def payload_dir() -> Path:
    """The folder with ``configs``, ``tools`` and ``model-index.yml``: a checkout, or one inside the package."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / 'model-index.yml').is_file() else _PACKAGE / '.mim'


def config_names() -> list[str]:
    """Names of all our configs, such as ``'csra_r101_coco'``."""
    return sorted(path.stem for path in (payload_dir() / 'configs').glob('*.py'))


def config_path(name: str) -> str:
    """The path of one of our configs, as in ``_base_ = [__import__('mmlattn').config_path('csra_r101_coco')]``.

    Args:
        name (str): See :func:`config_names`, or what configs are made of, ``'_base_/default_runtime'``; a ``.py`` at
            the end does not matter.

    Raises:
        UserError: If none is called so, with those of similar name.
    """
    stem, folder = str(name).removesuffix('.py'), payload_dir() / 'configs'
    known = config_names()
    if stem.startswith('_base_/'):
        known = [
            path.relative_to(folder).with_suffix('').as_posix() for path in folder.glob('_base_/**/*.py')
        ]
    if stem not in known:
        near = difflib.get_close_matches(stem, known, n=3)
        hint = f'did you mean {" or ".join(near)}?' if near else 'mmlattn.config_names() has all'
        raise UserError(f'no config of mmlattn is called {name}: {hint}')
    return str(folder / f'{stem}.py')

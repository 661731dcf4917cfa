"""Files of weights that tools read and write: tensors by their names, and nothing that runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from ..arguments import refuse_existing
from ..errors import UserError
from .content import check_content
from .loading import load_weights_only
from .safetensors_files import SUFFIX, BrokenFileError, write_safetensors


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors by name from an ``.npz``, safetensors or what ``torch.save`` wrote, and the checkpoint's meta.

    A ``module.`` that DataParallel put before every name is left out.

    Raises:
        UserError: If there is no such file, or it holds anything but named tensors.
    """
    if not path.is_file():
        raise UserError(f'there is no file {path}')
    try:
        if path.suffix == '.npz':
            with np.load(path, allow_pickle=False) as arrays:
                content = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        else:
            content = load_weights_only(str(path), 'cpu')
    except BrokenFileError as error:
        raise UserError(f'{path} {error}: it is cut off, damaged or no checkpoint') from error
    except UserError as error:
        raise UserError(
            f'{path} {error}: save no more than torch.save(model.state_dict(), ...) does'
        ) from error
    except Exception as error:  # whatever numpy stumbles over in a broken or hostile file
        raise UserError(f'{path} cannot be read as arrays ({error}): damaged, or no .npz') from error
    state, meta = content, {}
    if isinstance(content, dict) and isinstance(content.get('state_dict'), dict):
        state, meta = content['state_dict'], content.get('meta')
    if not isinstance(state, dict) or not state or not all(map(torch.is_tensor, state.values())):
        what = ', '.join(map(str, list(state)[:3])) if isinstance(state, dict) else type(state).__name__
        raise UserError(f'{path} holds no state dict (but {what}): expected tensors by their names')
    check_content(content, str(path))
    return without_wrapper_prefix(state), meta if isinstance(meta, dict) else {}


def without_wrapper_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without the ``module.`` that DataParallel puts before each."""
    wrapped = all(str(name).startswith('module.') for name in state)
    return {name.removeprefix('module.'): t for name, t in state.items()} if wrapped else dict(state)


def write_weights(path: Path, content: dict) -> None:
    """Write a new file whole or not at all: ``.npz`` (arrays), ``.safetensors``, else as ``torch.save`` does.

    Raises:
        UserError: If it has come to exist.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix='.convert-') as folder:
        partial = Path(folder, path.name)
        if path.suffix == '.npz':
            np.savez(partial, **{name: tensor.numpy() for name, tensor in content.items()})
        elif path.suffix == SUFFIX:
            write_safetensors(partial, content)
        else:
            torch.save(content, partial)
        refuse_existing('name', path)
        os.rename(partial, path)

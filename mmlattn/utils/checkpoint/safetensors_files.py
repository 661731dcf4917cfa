"""Checkpoints as safetensors: tensors by name, and beside them nothing but texts.

The format (github.com/huggingface/safetensors) has no place for anything that runs. It has no checksums either, and
no tensor under two names. One of its texts, ``mmlattn``, is the json of what else our checkpoints tell:

``meta``      as in every checkpoint: classes, decision, epoch; numbers, texts, lists and dicts
``shared``    name: another name of the same tensor, as of tied weights
``versions``  of the layers, by which torch's modules know how to read older weights
``digests``   of the weights, see :mod:`.digests`

Another, ``mmlattn_sha256``, is the checksum of that json. ``format`` is what other programs look for.
"""

import hashlib
import json
import struct
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmengine.runner import CheckpointLoader
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import UserError
from ..json_files import to_json
from .digests import DIGESTS, add_digests

SUFFIX = '.safetensors'
_TEXT, _CHECKSUM = 'mmlattn', 'mmlattn_sha256'
_PARTS = ('meta', 'shared', 'versions', DIGESTS)
#: What safetensors' own reader takes at most.
_LONGEST_HEADER = 10**8
#: What a checkpoint for use has; the rest is of the training.
_WRITTEN = ('state_dict', 'meta', DIGESTS)
#: Texts in ``meta`` that mmengine's Runner and inferencers give to ``Config.fromstring``, which runs them.
CONFIG_TEXTS = ('config', 'cfg')


class BrokenFileError(UserError):
    """A file is damaged or no checkpoint at all, so trust would not open it either."""


def is_safetensors(file: str | Path | BytesIO) -> bool:
    """Whether a file is named so, or begins so: the length of a header, then that header, which is json."""
    if isinstance(file, BytesIO):
        start = file.getvalue()[:9]
    elif str(file).endswith(SUFFIX):
        return True
    else:
        with open(file, 'rb') as opened:
            start = opened.read(9)
    return len(start) == 9 and start[8:] == b'{' and struct.unpack('<Q', start[:8])[0] <= _LONGEST_HEADER


def read_safetensors(file: str | Path | BytesIO, map_location: Any = None) -> dict:
    """A checkpoint, the path or bytes of a file: a dict with ``state_dict``, or the weights alone if others made it.

    Args:
        file (str | Path | BytesIO): The file.
        map_location (str | torch.device, optional): Where to put the weights; anything else leaves them on the CPU.

    Raises:
        BrokenFileError: If it is cut off, or no such file, or does not agree with itself.
    """
    if isinstance(file, BytesIO):
        with TemporaryDirectory() as folder:
            path = Path(folder, 'weights')
            path.write_bytes(file.getvalue())
            return read_safetensors(path, map_location)
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safe_open(str(file), framework='pt', device='cpu') as opened:
            # Copies: what it gives lies in the file, which may be replaced while the weights are in use.
            weights = OrderedDict((name, opened.get_tensor(name).clone()) for name in opened.keys())  # noqa: SIM118
            texts = opened.metadata() or {}
        told = _read_text(texts)
        _add_shared(weights, told.get('shared') or {})
        versions = told.get('versions')
    except Exception as error:  # whatever a hostile or broken file makes the reader stumble over
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise BrokenFileError(f'cannot be read as safetensors ({reason:.200})') from error
    moved = {}
    for name, value in weights.items():
        # One tensor under two names stays one.
        weights[name] = moved.setdefault(id(value), value.to(device))
    if versions:
        weights._metadata = OrderedDict(versions)
    if not told:
        return weights
    return dict(state_dict=weights, **{part: told[part] for part in ('meta', DIGESTS) if told.get(part)})


def _read_text(texts: Mapping[str, str]) -> dict:
    """What :func:`write_safetensors` noted down; nothing of a file of others."""
    if not {_TEXT, _CHECKSUM} & texts.keys():
        return {}
    if _TEXT not in texts or hashlib.sha256(texts[_TEXT].encode()).hexdigest() != texts.get(_CHECKSUM):
        raise BrokenFileError('its metadata does not agree with its checksum')
    told = json.loads(texts[_TEXT])
    if not isinstance(told, dict) or told.keys() - set(_PARTS):
        raise BrokenFileError(f'its metadata is not a dict of {", ".join(_PARTS)}')
    if not all(isinstance(told.get(part, {}), dict) for part in _PARTS):
        raise BrokenFileError('a part of its metadata is no dict')
    for layer, version in told.get('versions', {}).items():
        # Torch takes orders from there, too: that what is loaded replaces parameters, whatever its type.
        if (
            not isinstance(version, dict)
            or version.keys() != {'version'}
            or type(version['version']) is not int
        ):
            raise BrokenFileError(f'of {layer!r} it tells more or less than a version')
    for name in CONFIG_TEXTS:
        told.get('meta', {}).pop(name, None)
    return told


def _add_shared(weights: dict[str, Tensor], shared: Mapping[str, str]) -> None:
    found = {}
    for name, other in shared.items():
        if name in weights or other not in weights:
            raise BrokenFileError(f'{name!r} should be another name of {other!r}')
        found[name] = weights[other]
    weights.update(found)


def write_safetensors(path: Path, content: Mapping) -> None:
    """Write the weights of a checkpoint, a state dict or a dict with one as ``state_dict``, and its ``meta``.

    The same content gives the same bytes. What belongs to a training, see :func:`left_out`, is not written.

    Args:
        path (Path): Of the new file.
        content (Mapping): The checkpoint; what of ``meta`` is an array becomes a list, and a tuple too.

    Raises:
        UserError: If its weights are no dense tensors, or ``meta`` holds something that json does not have.
    """
    checkpoint = content if 'state_dict' in content else dict(state_dict=content)
    weights = checkpoint['state_dict']
    for name, value in weights.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_quantized:
            raise UserError(
                f'{path}: {name} is a {type(value).__name__}, and a file of safetensors holds dense tensors alone: '
                'name it .pth'
            )
    tensors, shared = _unshared(weights)
    noted = dict(state_dict=weights)
    add_digests(noted)
    versions = getattr(weights, '_metadata', None) or {}
    told = dict(
        meta=_plain({k: v for k, v in (checkpoint.get('meta') or {}).items() if k not in CONFIG_TEXTS}, path),
        shared=shared,
        versions={name: dict(version=of['version']) for name, of in versions.items() if 'version' in of},
        digests=noted[DIGESTS],
    )
    text = to_json(told, sort_keys=True)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    save_file(tensors, path, metadata={'format': 'pt', _TEXT: text, _CHECKSUM: checksum})
    _order_header(path)


def left_out(content: Mapping) -> list[str]:
    """The parts of a checkpoint that :func:`write_safetensors` leaves out, those of a training."""
    if 'state_dict' not in content:
        return []
    return sorted(name for name, value in content.items() if name not in _WRITTEN and value is not None)


def _unshared(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, with numbers of its own in order of its indices; and the further names of some."""
    tensors, shared, known = {}, {}, {}
    for name, value in weights.items():
        value = value.detach()
        place = (value.device, value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if value.numel() and place in known:
            shared[name] = known[place]
            continue
        known[place] = name
        # A part of another tensor is copied; safetensors refuses overlaps.
        alone = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
        tensors[name] = value if alone else value.clone(memory_format=torch.contiguous_format)
    return tensors, shared


def _plain(value: Any, path: Path) -> Any:
    """What a ``meta`` may hold, as json gives it back."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item, path) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, path) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item, path) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UserError(
        f'{path}: meta holds a {type(value).__name__}, which a file of safetensors has no place for: take it out of '
        'meta, or name the file .pth'
    )


def _order_header(path: Path) -> None:
    """Sort the texts in the header: safetensors writes them in another order each time."""
    with path.open('r+b') as file:
        (length,) = struct.unpack('<Q', file.read(8))
        header = json.loads(file.read(length))
        header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
        text = to_json(header, separators=(',', ':'), ensure_ascii=False).encode()
        if len(text) > length:
            raise UserError(f'{path}: names of its weights cannot be written as safetensors: name it .pth')
        file.seek(8)
        file.write(text.ljust(length))


def register_safetensors() -> None:
    """Let mmengine's loader open local files that are named so, also where a tool of others runs."""
    CheckpointLoader.register_scheme(r'(?!\w+://).*\.safetensors$', read_safetensors, force=True)

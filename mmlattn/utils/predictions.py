"""Predictions that ``tools/test.py --out`` wrote are data, not code.

They are a pickle, which can run anything when it is opened. Here the whole file is read first, and what it asks for
is only noted down; no object of numpy or torch is within its reach. Then tensors, arrays and plain values are made
of the notes, each checked against the bytes it is made of, and anything else is refused. The storage of a tensor is a
file of ``torch.save`` within the pickle and is read weights-only.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import UserError

__all__ = ['load_predictions']


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2, mmengine's, writes bytes; another encoding could name a module to import."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes are encoded as {encoding!r}')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    """How protocol 2 writes empty bytes, those of the boxes of a picture without any; never of a given length."""
    return b''


def _empty_hooks() -> OrderedDict:
    return OrderedDict()


def _storage(content: bytes) -> torch.storage.TypedStorage:
    storage = torch.load(BytesIO(content), map_location='cpu', weights_only=True)
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError(f'a {type(storage).__name__} is no storage of a tensor')
    return storage


def _tensor(
    storage: torch.storage.TypedStorage,
    offset: int,
    size: tuple,
    stride: tuple,
    _requires_grad: bool,
    _hooks: OrderedDict,
) -> Tensor:
    """Within the bounds of its storage, which ``as_strided`` checks: other ways would enlarge it."""
    flat = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)
    tensor = flat.as_strided(size, stride, offset)
    # A byte other than 0 and 1 makes kernels count what they do not find.
    return tensor.view(torch.uint8) != 0 if tensor.dtype == torch.bool else tensor


def _dtype(kind: str, _align: bool, _copy: bool, state: tuple) -> np.dtype:
    """Numbers and text of a fixed size; of the state, the byte order alone."""
    if not re.fullmatch(r'[biufcSU]\d+', kind):
        raise pickle.UnpicklingError(f'an array has elements of kind {kind!r}, not numbers or text')
    order = state[1]
    return np.dtype(kind).newbyteorder(order) if order in ('<', '>') else np.dtype(kind)


def _array(_class: str, _shape: tuple, _kind: bytes, state: tuple) -> np.ndarray:
    _, shape, dtype, is_fortran, content = state
    return _from_bytes(dtype, shape, content, 'F' if is_fortran else 'C')


def _from_bytes(dtype: np.dtype, shape: tuple, content: bytes, order: str = 'C') -> np.ndarray:
    if not isinstance(dtype, np.dtype) or not isinstance(content, bytes):
        raise pickle.UnpicklingError('an array is not made of bytes')
    array = np.ndarray(shape, dtype, content, order=order)
    if array.nbytes != len(content):
        raise pickle.UnpicklingError(f'an array of {array.nbytes} bytes is made of {len(content)}')
    return array.view(np.uint8) != 0 if dtype.kind == 'b' else array.copy('K')


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    return _from_bytes(dtype, (), content)[()]


_MAKERS: dict[tuple[str, str], Callable] = {
    ('collections', 'OrderedDict'): _empty_hooks,
    ('_codecs', 'encode'): _latin1,
    ('__builtin__', 'bytes'): _no_bytes,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch.storage', '_load_from_bytes'): _storage,
    ('numpy', 'dtype'): _dtype,
    **{(f'numpy.{core}.multiarray', '_reconstruct'): _array for core in ('core', '_core')},
    **{(f'numpy.{core}.multiarray', 'scalar'): _scalar for core in ('core', '_core')},
}


class _Note:
    """What a file asks for: a call and a state to set, both only noted down."""

    __slots__ = ('args', 'maker', 'state')

    def __init__(self, maker: Callable, args: tuple | None = None) -> None:
        self.maker, self.args, self.state = maker, args, None

    def __call__(self, *args) -> '_Note':
        return _Note(self.maker, args)

    def __setstate__(self, state: Any) -> None:  # all that pickle sets comes here, attributes too
        self.state = state


class _NotingUnpickler(pickle.Unpickler):
    """Gives plain values and ``_Note``, never a class or function."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('numpy', 'ndarray'):
            return name  # an argument of _reconstruct, never called
        if (module, name) not in _MAKERS:
            raise _RefusedError(f'{module}.{name}')
        return _Note(_MAKERS[module, name])


class _RefusedError(pickle.UnpicklingError):
    """The name that a file asks for."""


def _make(value: Any, made: dict[int, Any]) -> Any:
    """The value with everything made that is noted in it; ``made`` holds what already is, by identity."""
    if not isinstance(value, (_Note, dict, list, tuple, set, frozenset)):
        return value
    if id(value) not in made:
        if isinstance(value, dict):
            result = {_make(key, made): _make(item, made) for key, item in value.items()}
        elif not isinstance(value, _Note):
            result = type(value)([_make(item, made) for item in value])
        elif value.args is None:
            raise pickle.UnpicklingError('it names a function without calling it')
        else:
            state = {} if value.state is None else dict(state=_make(value.state, made))
            result = value.maker(*_make(value.args, made), **state)
        made[id(value)] = result
    return made[id(value)]


def load_predictions(path: str, trust: bool = False) -> list[dict]:
    """Read the predictions of a test run without running anything the file holds.

    Args:
        path (str): A ``.pkl`` that ``tools/test.py --out``, mmengine's ``DumpResults``, wrote.
        trust (bool): Open it whatever it asks for; it can then run any code.

    Returns:
        list[dict]: One data sample as a dict for each picture, at least one.

    Raises:
        UserError: If there is no such file, it asks for more than tensors, arrays and plain values, or it holds no
            predictions.
    """
    if not Path(path).is_file():
        raise UserError(f'there is no file of predictions {path}')
    with open(path, 'rb') as file:
        try:
            samples = pickle.load(file) if trust else _make(_NotingUnpickler(file).load(), {})
        except _RefusedError as error:
            raise UserError(
                f'refused to open {path}: it asks for {error}, and opening more than predictions can run any code. '
                'If you know who made it, add --trust'
            ) from error
        except Exception as error:  # whatever a broken file makes the reader stumble over
            raise UserError(
                f'{path} is cut off, damaged or no file of predictions ({error or type(error).__name__}): write it '
                'with tools/test.py CONFIG CHECKPOINT --out FILE.pkl'
            ) from error
    if not isinstance(samples, list) or not samples or not all(isinstance(s, dict) for s in samples):
        raise UserError(
            f'{path} holds no predictions, a list with one dict for each picture: write it with tools/test.py '
            'CONFIG CHECKPOINT --out FILE.pkl'
        )
    return samples

"""The objects that a file of others may hold beside plain values: numpy's arrays and scalars, mmengine's log history.

A pickle names functions and says with what to call them. Neither numpy's functions nor Python's are within its reach
here, for numpy believes what a file says of an array. A reader gives a :class:`Note` for each name of ``MAKERS``; the
note keeps the arguments, and after reading :func:`make` makes the object, checked against the bytes it is made of.
"""

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer


def _bytes_of_text(text: str, encoding: str) -> bytes:
    """How protocol 2, which torch and mmengine write, has bytes; another encoding could name a module to import."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes are encoded as {encoding!r}')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    """How protocol 2 has no bytes, as of an empty array; with a number, ``bytes`` would fill the memory."""
    return b''


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
    # A truth value whose byte is neither 0 nor 1 makes numpy count what it does not find.
    return array.view(np.uint8) != 0 if dtype.kind == 'b' else array.copy('K')


def _scalar(dtype: np.dtype, content: bytes) -> np.generic:
    return _from_bytes(dtype, (), content)[()]


#: What makes the object that a pickle names.
MAKERS: dict[str, Callable] = {
    '_codecs.encode': _bytes_of_text,
    '__builtin__.bytes': _no_bytes,
    'numpy.dtype': _dtype,
    # numpy 1 and 2 keep the same functions in two places.
    **{f'numpy.{core}.multiarray._reconstruct': _array for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': _scalar for core in ('core', '_core')},
}


class Note:
    """A call that a file asks for, and a state to set on what it gives; both are only noted down."""

    __slots__ = ('args', 'maker', 'state')

    def __init__(self, maker: Callable, args: tuple | None = None) -> None:
        self.maker, self.args, self.state = maker, args, None

    def __call__(self, *args) -> 'Note':
        return Note(self.maker, args)

    def __setstate__(self, state: Any) -> None:  # all that pickle sets comes here, attributes too
        self.state = state


def _history_statistic(owner: type, name: str) -> Callable:
    """What ``getattr`` may do in a checkpoint: name one of ``HistoryBuffer``'s own statistics."""
    if owner is not HistoryBuffer or name not in ('current', 'max', 'mean', 'min'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


#: What a checkpoint of mmengine's Runner may name besides what torch's weights-only reader allows by itself.
SAFE_GLOBALS = [
    HistoryBuffer,
    *((_history_statistic, f'{builtins}.getattr') for builtins in ('builtins', '__builtin__')),
    ('ndarray', 'numpy.ndarray'),  # an argument of _reconstruct, never called
    *((Note(maker), name) for name, maker in MAKERS.items()),
    (Note(_no_bytes), 'builtins.bytes'),
    # torch sets the state of objects of listed types only; no file can name one without a dot.
    (Note, 'Note'),
]


def make(value: Any) -> Any:
    """The value, with every note in it replaced by what it asks for; dicts, lists and log histories stay themselves.

    Raises:
        UnpicklingError: For what is not made of the bytes that it says; other exceptions for other nonsense.
    """
    return _make(value, {})


def _make(value: Any, made: dict[int, Any]) -> Any:
    """``made`` holds the results so far, by the identity of what they were made from."""
    if not isinstance(value, (Note, dict, list, tuple, set, frozenset, HistoryBuffer)):
        return value
    if id(value) not in made:
        made[id(value)] = _IN_THE_MAKING
        made[id(value)] = _make_new(value, made)
    if made[id(value)] is _IN_THE_MAKING:
        raise pickle.UnpicklingError('it holds something that contains itself')
    return made[id(value)]


_IN_THE_MAKING = object()


def _make_new(value: Any, made: dict[int, Any]) -> Any:
    if isinstance(value, Note):
        if value.args is None:
            raise pickle.UnpicklingError('it names a function without calling it')
        state = {} if value.state is None else dict(state=_make(value.state, made))
        return value.maker(*_make(value.args, made), **state)
    if isinstance(value, HistoryBuffer):
        for name, item in vars(value).items():
            setattr(value, name, _make(item, made))
        return value
    if isinstance(value, dict):
        pairs = [(_make(key, made), _make(item, made)) for key, item in value.items()]
        value.clear()
        for key, item in pairs:  # update() of a Counter would count
            value[key] = item
        return value
    if isinstance(value, list):
        value[:] = [_make(item, made) for item in value]
        return value
    return type(value)([_make(item, made) for item in value])

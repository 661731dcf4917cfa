"""Predictions that ``tools/test.py --out`` wrote are data, not code.

They are a pickle, which can run anything when it is opened. Here it may name what predictions consist of, tensors,
arrays and plain values, and nothing else. The storage of a tensor is a file of ``torch.save`` within the pickle and
is read weights-only.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import UserError

__all__ = ['load_predictions']


def _storage(content: bytes) -> Any:
    return torch.load(BytesIO(content), weights_only=True)


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2, mmengine's, writes bytes; another encoding could name a module to import."""
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'bytes are encoded as {encoding!r}')
    return text.encode('latin1')


def _no_bytes() -> bytes:
    """How protocol 2 writes empty bytes, those of the boxes of a picture without any; never of a given length."""
    return b''


def _allowed() -> dict[tuple[str, str], Callable]:
    """By module and name, what a file may ask for."""
    array, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    tensor = torch.empty(0).__reduce_ex__(2)[0]
    return {
        ('collections', 'OrderedDict'): OrderedDict,
        ('_codecs', 'encode'): _latin1,
        ('__builtin__', 'bytes'): _no_bytes,
        (tensor.__module__, tensor.__name__): tensor,
        ('torch.storage', '_load_from_bytes'): _storage,
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype,
        **{(f'numpy.{core}.multiarray', '_reconstruct'): array for core in ('core', '_core')},
        **{(f'numpy.{core}.multiarray', 'scalar'): scalar for core in ('core', '_core')},
    }


class _PlainUnpickler(pickle.Unpickler):
    known = _allowed()

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in self.known:
            raise _RefusedError(f'{module}.{name}')
        return self.known[module, name]


class _RefusedError(pickle.UnpicklingError):
    """The name that a file asks for."""


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
            samples = pickle.load(file) if trust else _PlainUnpickler(file).load()
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

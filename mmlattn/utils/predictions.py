"""Predictions that ``tools/test.py --out`` wrote are data, not code.

They are a pickle, which can run anything when it is opened. Here plain values, tensors and arrays are made
(``checkpoint/safe_objects.py``), and anything else is refused. The storage of a tensor is a file of ``torch.save``
within the pickle and is read weights-only.
"""

import pickle
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint.safe_objects import MAKERS, Note, make
from .errors import UserError

#: Strides of 0 repeat a number without a place of its own; what computes with it needs one.
_MOST_REPEATED = 2**20


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
    if tensor.numel() > max(flat.numel(), _MOST_REPEATED):
        raise pickle.UnpicklingError(f'a tensor of {tensor.numel()} numbers is made of {flat.numel()}')
    # A byte other than 0 and 1 makes kernels count what they do not find.
    return tensor.view(torch.uint8) != 0 if tensor.dtype == torch.bool else tensor


def _no_hooks() -> OrderedDict:
    return OrderedDict()


_ALL_MAKERS = MAKERS | {
    'collections.OrderedDict': _no_hooks,
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch.storage._load_from_bytes': _storage,
}


class _RefusedError(pickle.UnpicklingError):
    """The name that a file asks for."""


class _NotingUnpickler(pickle.Unpickler):
    """Gives plain values and notes, never a class or function."""

    def find_class(self, module: str, name: str) -> Any:
        full_name = f'{module}.{name}'
        if full_name == 'numpy.ndarray':
            return name  # an argument of _reconstruct, never called
        if full_name not in _ALL_MAKERS:
            raise _RefusedError(full_name)
        return Note(_ALL_MAKERS[full_name])


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
            samples = pickle.load(file) if trust else make(_NotingUnpickler(file).load())
        except _RefusedError as error:
            raise UserError(
                f'refused to open {path}: it asks for {error}, and opening more than predictions can run any code. '
                'If you know who made it, add --trust-checkpoint'
            ) from error
        except Exception as error:  # whatever a broken file makes the reader stumble over
            said = ' '.join(str(error).split()) or type(error).__name__
            raise UserError(
                f'{path} is cut off, damaged or no file of predictions ({said}): write it with tools/test.py CONFIG '
                'CHECKPOINT --out FILE.pkl'
            ) from error
    if not isinstance(samples, list) or not samples or not all(isinstance(s, dict) for s in samples):
        raise UserError(
            f'{path} holds no predictions, a list with one dict for each picture: write it with tools/test.py '
            'CONFIG CHECKPOINT --out FILE.pkl'
        )
    return samples

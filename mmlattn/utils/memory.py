"""Memory of a process that computes on the CPU, and what a step of training keeps."""

import ctypes
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the C library keep the memory that tensors leave, for those that come after.

    By default glibc gives large blocks back to the system at once, and each layer of the next batch has to be handed
    zeroed pages again: two thirds of the time of MobileNetV2 on 32 pictures of 224 pixels. The process then stays as
    large as it was at most.

    Returns:
        bool: Whether the library could be told; others than glibc have no such setting.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all([tell(_MMAP_MAX, 0), tell(_TRIM_THRESHOLD, 2**31 - 1), tell(_TOP_PAD, 2**24)])


def saved_bytes(forward: Callable[[], object], own: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps of a forward pass for the backward pass, each storage once, less those of ``own``."""
    storages = {}  # held, for one that is freed could leave its place to another

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward()
    others = storages.keys() - {tensor.untyped_storage().data_ptr() for tensor in own}
    return sum(storages[place].nbytes() for place in others)

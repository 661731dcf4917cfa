"""Where autocast or half precision would cost the result."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def widen(x: Tensor) -> Tensor:
    """In float32 at least, for sums over channels, positions or steps, and for softmax."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(x: Tensor) -> AbstractContextManager:
    """Without autocast on the device of ``x``, for small products that decide between labels.

    Half precision rounds scores of 8 and more to steps of 0.03, and then one label set in a hundred is another one.
    """
    # Autocast knows no meta device, and an exported graph would keep a region in which nothing is switched off.
    if x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def as_read_by(layer: nn.Module, x: Tensor) -> Tensor:
    """``x`` in the type of a linear layer's weights; float32 where torch.ao has quantised them."""
    return x.to(layer.weight.dtype if isinstance(layer.weight, Tensor) else torch.float32)


def wide_linear(layer: nn.Module, x: Tensor) -> Tensor:
    """W x + b in float32 at least, where autocast would do it in half precision."""
    if not isinstance(layer.weight, Tensor):  # quantised by torch.ao
        return layer(x.float())
    with full_precision(x):
        return nn.functional.linear(widen(x), widen(layer.weight), widen(layer.bias))

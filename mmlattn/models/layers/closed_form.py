"""When a gradient in closed form, an ``autograd.Function`` of our own, takes the place of autograd's."""

import torch
from torch import Tensor


def gradient_is_needed(*inputs: Tensor) -> bool:
    """Whether a backward pass through what is computed from ``inputs`` may come.

    Not where TorchScript traces: it could not save a function of Python's, and records the plain operators.
    """
    return torch.is_grad_enabled() and any(x.requires_grad for x in inputs) and not torch.jit.is_tracing()

"""Tensors and array-likes as numpy arrays."""

import numpy as np
import torch


def as_array(values) -> np.ndarray:
    """Values as a contiguous array, without their gradient; half precision, which numpy is slow with, as float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return np.ascontiguousarray(values)

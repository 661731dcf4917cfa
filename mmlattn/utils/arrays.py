"""Tensors and array-likes as numpy arrays."""

import numpy as np
import torch


def as_array(values) -> np.ndarray:
    """Values as a contiguous array, without their gradient; half precision, which numpy is slow with, as float32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    return np.ascontiguousarray(values)


def for_the_eye(image: torch.Tensor) -> np.ndarray:
    """A picture (C, H, W) to draw: (H, W, 3 or 1), uint8.

    What goes above 255, as in 16 bits, is scaled to its maximum; a fourth channel is left out, of two the second.
    """
    image = image.detach().cpu().double()
    if image.isfinite().all() and image.max() > 255:
        image = image * (255 / image.max())
    channels = 3 if len(image) >= 3 else 1
    return np.ascontiguousarray(
        image[:channels].nan_to_num().round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    )

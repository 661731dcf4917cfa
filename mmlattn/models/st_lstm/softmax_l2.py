"""The classification loss of Wang et al., ICCV 2017."""

import torch
from torch import Tensor

__all__ = ['softmax_l2']


def softmax_l2(scores: Tensor, target: Tensor) -> Tensor:
    """sum_c (p_c - y_c / |y|_1)^2 with p = softmax(scores), in float32 at least.

    Args:
        scores (Tensor): Raw scores, shape (..., C).
        target (Tensor): Labels y, 1 for each class present, or soft ones of at least 0, shape (..., C).

    Returns:
        Tensor: Shape (...); 0, with gradient 0, for pictures without labels, whose y / |y|_1 does not exist.
    """
    dtype = torch.promote_types(scores.dtype, torch.float32)
    total = target.sum(dim=-1, keepdim=True).to(dtype)
    share = target.to(dtype) / torch.where(total > 0, total, 1.0)
    squares = (scores.to(dtype).softmax(dim=-1) - share).square().sum(dim=-1)
    return torch.where(total[..., 0] > 0, squares, 0.0)

"""Which classes of a score vector are predicted."""

import torch
from torch import Tensor

from mmlattn.utils.errors import UserError

__all__ = ['select_labels']


def select_labels(scores: Tensor, threshold: Tensor | float, topk: int | None = None) -> Tensor:
    """Classes whose score reaches their threshold, among the ``topk`` best if given.

    Args:
        scores (Tensor): Shape (C,).
        threshold (Tensor | float): Shape (C,), or one for all.
        topk (int, optional): At least 1; more than C is C. Ties go to the lower class.

    Returns:
        Tensor: Class indices, ascending.

    Raises:
        UserError: For a ``topk`` below 1.
    """
    if topk is not None and topk < 1:
        raise UserError(f'topk must be at least 1, got {topk}')
    kept = scores >= torch.as_tensor(threshold, device=scores.device)
    if topk is not None:
        best = scores.argsort(descending=True, stable=True)[:topk]
        kept = kept & torch.zeros_like(kept).scatter(0, best, True)
    return kept.nonzero()[:, 0]

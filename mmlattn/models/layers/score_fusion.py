"""From the scores of several looks to one score of each class.

Wang et al., ICCV 2017: the maximum over the regions, class by class. The others are the usual smooth
relatives; all keep K equal looks at their common score, but for noisy-or, in which looks add up.

Shapes: raw scores (B, K, C) of K looks, fused scores (B, C); float32 at least.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widen


def log_mean_exp(scores: Tensor) -> Tensor:
    """log(mean_k exp(s_k)): the maximum made smooth."""
    return scores.logsumexp(dim=1) - math.log(scores.shape[1])


def noisy_or(scores: Tensor) -> Tensor:
    """The logit of 1 - prod_k (1 - sigmoid(s_k)): present if seen in any look."""
    log_absent = F.logsigmoid(-scores).sum(dim=1)
    # log(p / (1 - p)) with 1 - p = exp(log_absent). Where p is close to 0, all scores are very low, and
    # log p = log sum_k exp(s_k) to first order; the direct form would take the logarithm of 0 there.
    rare = log_absent > -torch.finfo(scores.dtype).eps
    # 1 - exp(x) = -2 t / (1 - t) with t = tanh(x / 2), exact near 0 as expm1 is, which ONNX lacks.
    half = (torch.where(rare, -1.0, log_absent) / 2).tanh()
    direct = torch.log(-2 * half / (1 - half)) - log_absent
    return torch.where(rare, scores.logsumexp(dim=1), direct)


SCORE_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = dict(
    max=lambda scores: scores.amax(dim=1),
    lse=log_mean_exp,
    mean=lambda scores: scores.mean(dim=1),
    noisy_or=noisy_or,
)


def fuse_scores(scores: Tensor, how: str = 'max') -> Tensor:
    """One score of each class; ``how`` is a key of ``SCORE_FUSIONS``."""
    return SCORE_FUSIONS[how](widen(scores))


def fusion_weights(scores: Tensor, how: str = 'max') -> Tensor:
    """How much each look decides, (B, K, C): the derivative of the fused score, scaled to sum to 1 over the looks.

    The maximum gives one-hot weights, to the first of equals.
    """
    scores = widen(scores)
    if how == 'max':
        return one_hot_peak(scores, dim=-2)
    if how == 'mean':
        return torch.full_like(scores, 1 / scores.shape[1])
    return (scores if how == 'lse' else F.logsigmoid(scores)).softmax(dim=1)


def one_hot_peak(scores: Tensor, dim: int = -1) -> Tensor:
    """1 at the first arg max along an axis, counted from the last, -1, and 0 elsewhere."""
    # Not one_hot: an exporter would take the length of the axis for a constant.
    places = torch.arange(scores.shape[dim], device=scores.device).view(-1, *[1] * (-1 - dim))
    return (scores.argmax(dim=dim, keepdim=True) == places).to(scores.dtype)

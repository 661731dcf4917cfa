"""The equations of class-specific residual attention (CSRA).

Zhu and Wu, "Residual Attention: A Simple but Effective Method for Multi-Label Recognition", ICCV 2021,
https://arxiv.org/abs/2108.02456, section 3. With a classifier row w for each head and class, and x_k the feature at
location k, a head with temperature T gives

    s_k   = w . x_k / |w|
    base  = mean_k s_k
    att   = sum_k softmax_k(T s)_k s_k        max_k s_k for T = infinity
    logit = base + lam * att

and the logits of all heads are summed. T multiplies the scores: a larger T is sharper.

Shapes: B images, H heads, C classes, D channels, N = h * w locations. ``scores`` (B, H, C, N) are the plain products
w . x_k, and ``scale`` (H, C) is 1 / |w|, or None for s = scores: normalised rows or scores would have to be kept for
the backward pass beside the plain ones. Sums run in float32 at least, whatever the dtype of the scores.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlattn.models.layers.closed_form import gradient_is_needed
from mmlattn.models.layers.precision import widen
from mmlattn.models.layers.score_fusion import one_hot_peak

MAX_TEMPERATURE = 99
"""Stands for T = infinity, the spatial maximum, as in the authors' settings; it is not softmax(99 s)."""

PAPER_TEMPERATURES = {
    1: (1,),
    2: (1, 99),
    4: (1, 2, 4, 99),
    6: (1, 2, 3, 4, 5, 99),
    8: (1, 2, 3, 4, 5, 6, 7, 99),
}
"""Temperatures of the paper's multi-head settings, by number of heads."""


def class_scores(x: Tensor, weight: Tensor) -> Tensor:
    """Scores w . x_k of all heads, (B, H, C, N), from features (B, D, h, w) and rows (H, C, D)."""
    # A 1x1 convolution reads x once in either memory format; a batched matmul would copy the weight B times.
    scores = F.conv2d(x, weight.flatten(0, 1)[:, :, None, None]).flatten(2)
    # Not unflatten: the TorchScript exporter would take the batch for a constant.
    return scores.reshape(-1, *weight.shape[:2], scores.shape[-1])


def inverse_norms(weight: Tensor) -> Tensor:
    """1 / |w| of the rows (H, C, D), shape (H, C); 1 for a row of zeros, which scores 0 (the authors' code: NaN)."""
    norm = torch.linalg.vector_norm(weight, dim=-1)
    return torch.where(norm > 0, norm, 1.0).reciprocal()


def residual_attention(
    scores: Tensor, temperatures: Sequence[float], lam: float, scale: Tensor | None = None
) -> Tensor:
    """Logits base + lam * att, summed over heads, shape (B, C).

    When a gradient is needed, ``scores`` is the only tensor of its size that is kept for the backward pass.

    Args:
        scores (Tensor): Shape (B, H, C, N).
        temperatures (Sequence[float]): T of each head; ``MAX_TEMPERATURE`` or infinity for the maximum.
        lam (float): Weight of the attention term.
        scale (Tensor, optional): Shape (H, C).
    """
    temperatures = tuple(temperatures)
    if gradient_is_needed(scores):
        return _ResidualAttention.apply(scores, scale, temperatures, lam)
    base, att = pooled_terms(scores, temperatures, scale)
    return base + lam * att


def pooled_terms(
    scores: Tensor, temperatures: Sequence[float], scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The terms base and att, each summed over heads, shape (B, C); arguments as for ``residual_attention``."""
    scores, scale = _widen(scores, scale)
    soft, sharp = _split_heads(temperatures)
    base = (scores.mean(dim=-1) * scale).sum(dim=1)
    att = torch.zeros_like(base)
    if soft:
        s = _take(scores, soft)
        p = (s * _rates(temperatures, soft, scale)).softmax(dim=-1)
        att = att + ((p * s).sum(dim=-1) * scale[soft]).sum(dim=1)
    if sharp:
        att = att + (_take(scores, sharp).amax(dim=-1) * scale[sharp]).sum(dim=1)
    return base, att


def attention_maps(scores: Tensor, temperatures: Sequence[float], scale: Tensor | None = None) -> Tensor:
    """Where each class was read from, (B, C, N): the mean over heads of softmax(T s), one-hot for the maximum."""
    scores, scale = _widen(scores, scale)
    soft, sharp = _split_heads(temperatures)
    maps = []
    if soft:
        maps.append((_take(scores, soft) * _rates(temperatures, soft, scale)).softmax(dim=-1))
    if sharp:
        maps.append(one_hot_peak(_take(scores, sharp)))
    return torch.cat(maps, dim=1).mean(dim=1)


class _ResidualAttention(torch.autograd.Function):
    """``residual_attention`` with the closed-form gradient, recomputed from the scores.

    With p = softmax(T s):  d att / d s_k = p_k (1 + T (s_k - att)),  or 1 at the arg max alone for T = infinity,
    and d base / d s_k = 1 / N. Autograd would keep several tensors of the size of the scores for every head.
    """

    @staticmethod
    def forward(plain: Tensor, scale: Tensor | None, temperatures: tuple[float, ...], lam: float) -> Tensor:
        base, att = pooled_terms(plain, temperatures, scale)
        return base + lam * att

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        plain, scale, ctx.temperatures, ctx.lam = inputs
        ctx.save_for_backward(plain, scale)

    @staticmethod
    def backward(ctx, grad_logits: Tensor):
        plain, plain_scale = ctx.saved_tensors
        scores, scale = _widen(plain, plain_scale)
        soft, sharp = _split_heads(ctx.temperatures)
        grad = grad_logits.to(scores.dtype)[:, None, :, None] * scale[..., None]
        grad_base, grad_att = grad / scores.shape[-1], grad * ctx.lam
        grads = []
        if soft:
            s, rate = _take(scores, soft), _rates(ctx.temperatures, soft, scale)
            p = (s * rate).softmax(dim=-1)
            att = (p * s).sum(dim=-1, keepdim=True)
            slope = torch.addcmul(1 - rate * att, rate, s)  # 1 + T (s_k - att), in one pass over s
            grads.append(torch.addcmul(grad_base[:, soft], p * grad_att[:, soft], slope))
        if sharp:
            peak = one_hot_peak(_take(scores, sharp))
            grads.append(torch.addcmul(grad_base[:, sharp], peak, grad_att[:, sharp]))
        heads = soft + sharp
        back_in_order = sorted(range(len(heads)), key=heads.__getitem__)
        grad_scores = _take(torch.cat(grads, dim=1), back_in_order)
        grad_scale = None
        if plain_scale is not None:
            # s_k = scale * score_k, so d / d scale = sum_k (d / d score_k) score_k / scale.
            grad_scale = ((grad_scores * scores).sum(dim=(0, 3)) / scale).to(plain_scale.dtype)
        return grad_scores.to(plain.dtype), grad_scale, None, None


def _widen(scores: Tensor, scale: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both in float32 at least; a scale of None is 1."""
    scores = widen(scores)
    scale = scores.new_ones(scores.shape[1:3]) if scale is None else scale.to(scores.dtype)
    return scores, scale


def _split_heads(temperatures: Sequence[float]) -> tuple[list[int], list[int]]:
    """Indices of the softmax heads and of the maximum heads."""
    sharp = [h for h, t in enumerate(temperatures) if t == MAX_TEMPERATURE or math.isinf(t)]
    return [h for h in range(len(temperatures)) if h not in sharp], sharp


def _take(scores: Tensor, heads: list[int]) -> Tensor:
    """``scores[:, heads]``, without a copy where the heads are neighbours in order."""
    first, count = heads[0], len(heads)
    return scores.narrow(1, first, count) if heads == list(range(first, first + count)) else scores[:, heads]


def _rates(temperatures: Sequence[float], heads: list[int], scale: Tensor) -> Tensor:
    """T * scale of some heads, shape (len(heads), C, 1): what turns a plain score into T s."""
    return (scale[heads] * scale.new_tensor([float(temperatures[h]) for h in heads])[:, None])[..., None]

"""Losses that judge each label by itself, as functions of logits; shapes as in ``masking.py``.

All are computed in float32 at least, from log p = log sigmoid(z) and log(1 - p) = log sigmoid(-z), which stay finite
where p rounds to 0 or 1. A soft label y counts y times as a present and 1 - y times as an absent one. Unknown labels
are taken out before, see :func:`mmlattn.models.losses.masking.split_unknown`.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmlattn.models.layers.precision import widen


def binary_cross_entropy(scores: Tensor, target: Tensor, pos_weight: Tensor | float = 1.0) -> Tensor:
    """-w y log p - (1 - y) log(1 - p), with the weight w of present labels, a number or (C,)."""
    z, y = widen(scores), widen(target)
    return -pos_weight * y * logsigmoid(z) - (1 - y) * logsigmoid(-z)


def focal_loss(scores: Tensor, target: Tensor, gamma: float = 2.0, alpha: float | None = 0.25) -> Tensor:
    """-a y (1 - p)^g log p - (1 - a)(1 - y) p^g log(1 - p) (Lin et al., ICCV 2017, equation 5).

    Without ``alpha`` both weights are 1 (equation 4).
    """
    z, y = widen(scores), widen(target)
    present = -power_of_sigmoid(-z, gamma) * logsigmoid(z)
    absent = -power_of_sigmoid(z, gamma) * logsigmoid(-z)
    a, b = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return a * y * present + b * (1 - y) * absent


def asymmetric_loss(
    scores: Tensor,
    target: Tensor,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    constant_focus: bool = False,
) -> Tensor:
    """Of hard or soft labels, y L+ + (1 - y) L- (Ridnik et al., *Asymmetric Loss*, ICCV 2021, arXiv 2009.14119).

        L+ = -(1 - p)^g+ log p,    L- = -(p_m)^g- log(1 - p_m),    p_m = max(p - m, 0)

    An absent label whose p does not exceed the margin m is easy enough: loss and gradient 0.

    Args:
        scores (Tensor): Shape (..., C).
        target (Tensor): Shape (..., C).
        gamma_pos (float): g+.
        gamma_neg (float): g-.
        clip (float): m, in [0, 1).
        constant_focus (bool): Let no gradient pass through the powers, as the authors' code can.
    """
    z, y = widen(scores), widen(target)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not constant_focus):
        focus_pos, focus_neg = power_of_sigmoid(-z, gamma_pos), _shifted_power(z, gamma_neg, clip)
    return -y * focus_pos * logsigmoid(z) - (1 - y) * focus_neg * _log_shifted(z, clip)


def power_of_sigmoid(z: Tensor, gamma: float) -> Tensor | float:
    """sigmoid(z)^gamma."""
    return (gamma * logsigmoid(z)).exp() if gamma else 1.0


def _shifted_power(z: Tensor, gamma: float, margin: float) -> Tensor | float:
    """max(p - m, 0)^gamma, with gradient 0 where p <= m, also for a gamma below 1."""
    if not margin or not gamma:
        return power_of_sigmoid(z, gamma)
    rest = z.sigmoid() - margin
    return torch.where(rest > 0, torch.where(rest > 0, rest, 1).pow(gamma), 0)


def _log_shifted(z: Tensor, margin: float) -> Tensor:
    """log(1 - max(p - m, 0)); the argument is m at least."""
    return torch.log1p(-(z.sigmoid() - margin).clamp(min=0)) if margin else logsigmoid(-z)

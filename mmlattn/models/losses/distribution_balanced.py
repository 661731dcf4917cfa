"""Distribution-balanced loss (Wu et al., ECCV 2020, arXiv 2007.09654), as functions of logits.

Shapes as in ``masking.py``. n_i is the number of training pictures with class i, of N of which that is known:
``present`` and ``known``, (C,).

Written from the paper's formulas. The authors' code (wutong16/DistributionBalancedLoss on GitHub, where no licence
was found) tells the settings that it was measured with on COCO-MLT: alpha 0.1, beta 10, mu 0.2 (its gamma), lambda 2,
kappa 0.05, focal gamma 2. There nu is divided by lambda once more; here it is the paper's.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mmlattn.models.layers.precision import widen

from .binary import power_of_sigmoid


def rebalancing_weights(
    target: Tensor, present: Tensor, alpha: float = 0.1, beta: float = 10.0, mu: float = 0.2
) -> Tensor:
    """The weight of each label of each picture, (B, C), in alpha to 1 + alpha.

        P_C = (1 / C) (1 / n_i),    P_I = (1 / C) sum over classes j of the picture of (1 / n_j)
        r = P_C / P_I,    r_hat = alpha + 1 / (1 + exp(-beta (r - mu)))

    Where classes are drawn with equal chance and then a picture of the class, a picture with several labels comes as
    often as P_I says, though class i alone asks for P_C. To a picture without a label r is infinite, r_hat 1 + alpha.

    Args:
        target (Tensor): Shape (B, C); soft labels count as parts, unknown ones must be 0.
        present (Tensor): n_i, shape (C,). A class that never occurs is taken to occur once.
        alpha, beta, mu: Of the smoothing: the least weight, the slope, and the r in the middle of the slope.
    """
    rarity = 1 / present.to(target.device, torch.float32).clamp(min=1)
    per_picture = (widen(target) * rarity).sum(dim=-1, keepdim=True)
    ratio = rarity / per_picture.clamp(min=torch.finfo(rarity.dtype).tiny)
    return alpha + torch.sigmoid(beta * (ratio - mu))


def class_bias(present: Tensor, known: Tensor, kappa: float = 0.05) -> Tensor:
    """nu_i = kappa log(1 / p_i - 1) with p_i = n_i / N, (C,): above 0 for classes in less than half of all pictures.

    A class that no picture has, or all have, is taken to be in half a picture more or less.
    """
    present, known = present.double(), known.double().clamp(min=1)
    share = present.clamp(min=0.5).minimum(known - 0.5) / known
    return (kappa * torch.log(1 / share - 1)).float()


def negative_tolerant_bce(
    scores: Tensor, target: Tensor, bias: Tensor | float = 0.0, scale: float = 2.0, gamma: float = 0.0
) -> Tensor:
    """-y log s(z - nu) - (1 - y) (1 / lambda) log s(-lambda (z - nu)), with s the logistic function: (B, C).

    The larger lambda is, the sooner the gradient of an absent class that scores low enough goes to 0.

    Args:
        scores (Tensor): z, shape (B, C).
        target (Tensor): y, shape (B, C), in [0, 1].
        bias (Tensor | float): nu, (C,), see :func:`class_bias`.
        scale (float): lambda, above 0.
        gamma (float): Each term is also multiplied with (1 - s)^gamma, s being that term's, as in the focal loss.
    """
    z, y = widen(scores) - bias, widen(target)
    present = -power_of_sigmoid(-z, gamma) * logsigmoid(z)
    absent = -power_of_sigmoid(scale * z, gamma) * logsigmoid(-scale * z)
    return y * present + (1 - y) / scale * absent

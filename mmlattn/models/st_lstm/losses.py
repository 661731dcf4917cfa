"""The loss of Wang et al., ICCV 2017, is L = L_cls + gamma L_loc; gamma is the head's ``loc_weight``."""

import torch
from mmpretrain.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from mmlattn.models.layers.precision import widen
from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .constraints import anchor_penalty, overlap_penalty, positive_penalty, scale_penalty


@MODELS.register_module()
class RegionConstraintLoss(nn.Module):
    """L_loc = l_S + lambda_1 l_A + lambda_2 l_P, summed over the regions, averaged over the pictures.

    Args:
        alpha (float): Scale above which a region is too large.
        beta (float): Scale below which a region is too small or mirrored.
        lambda_scale (float): Weight of l_S; 1 in the paper.
        lambda_anchor (float): lambda_1.
        lambda_positive (float): lambda_2.
        lambda_overlap (float): Weight of the mean IoU with the other regions, which is not the paper's.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.1,
        lambda_scale: float = 1.0,
        lambda_anchor: float = 0.01,
        lambda_positive: float = 0.1,
        lambda_overlap: float = 0.0,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.weights = dict(
            scale=lambda_scale, anchor=lambda_anchor, positive=lambda_positive, overlap=lambda_overlap
        )
        numbers = dict(alpha=alpha, beta=beta) | {f'lambda_{term}': w for term, w in self.weights.items()}
        for name, value in numbers.items():
            check_number(name, value, least=0)
        if beta > alpha:
            raise UserError(
                f'scales should reach beta and not exceed alpha, but beta={beta} is above alpha={alpha}; lower beta'
            )

    def forward(self, theta: Tensor, anchors: Tensor, anchor_mask: Tensor) -> dict[str, Tensor]:
        """Compute the terms.

        Args:
            theta (Tensor): Shape (B, K, 4).
            anchors (Tensor): Shape (K, 2) or (B, K, 2).
            anchor_mask (Tensor): Shape (K,) or (B, K), bool.

        Returns:
            dict[str, Tensor]: ``scale``, ``anchor``, ``positive`` and ``overlap``, those with a weight above 0, each
            weighted, shape ().
        """
        penalties = dict(
            scale=scale_penalty(theta, self.alpha),
            anchor=anchor_penalty(theta, anchors, anchor_mask),
            positive=positive_penalty(theta, self.beta),
            overlap=overlap_penalty(theta),
        )
        return {
            term: weight * penalties[term].sum(dim=-1).mean()
            for term, weight in self.weights.items()
            if weight
        }


def softmax_l2(scores: Tensor, target: Tensor) -> Tensor:
    """sum_c (p_c - y_c / |y|_1)^2 with p = softmax(scores), both over the known classes, in float32 at least.

    Args:
        scores (Tensor): Raw scores, shape (..., C).
        target (Tensor): Labels y, 1 for each class present, or soft ones of at least 0; -1 for those unknown,
            which are in no sum. Shape (..., C).

    Returns:
        Tensor: Shape (...); 0, with gradient 0, for pictures without labels, whose y / |y|_1 does not exist.
    """
    scores, known = widen(scores), target >= 0
    target = torch.where(known, target, 0).to(scores.dtype)
    total = target.sum(dim=-1, keepdim=True)
    share = target / torch.where(total > 0, total, 1.0)
    # The least finite number: of nothing but infinities the softmax would not exist.
    least = torch.finfo(scores.dtype).min
    squares = (scores.masked_fill(~known, least).softmax(dim=-1) - share).square()
    return torch.where(total[..., 0] > 0, torch.where(known, squares, 0).sum(dim=-1), 0.0)


@MODELS.register_module()
class SoftmaxL2Loss(nn.Module):
    """L_cls: :func:`softmax_l2`, averaged over the pictures that have labels.

    The others have no shares of labels: they count nothing and get no gradient.

    Args:
        reduction (str): 'mean' over the labelled pictures, 'sum', or 'none'.
        loss_weight (float): Factor.
    """

    #: As mmpretrain's losses tell how scores are to be read.
    use_sigmoid = False
    #: Targets below 0 are unknown.
    takes_unknown = True

    def __init__(self, reduction: str = 'mean', loss_weight: float = 1.0) -> None:
        super().__init__()
        check_choice('reduction', reduction, ('mean', 'sum', 'none'))
        check_number('loss_weight', loss_weight)
        self.reduction = reduction
        self.loss_weight = loss_weight

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score (Tensor): Raw scores, shape (N, C).
            target (Tensor): Multi-hot or soft labels, -1 where unknown, shape (N, C).
            weight (Tensor, optional): Of each picture, shape (N,).
            avg_factor (float, optional): Not used: heads of mmpretrain give the number of pictures, and the mean is
                over those with labels.
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor: Shape (), or (N,) without reduction.

        Raises:
            UserError: If the shapes differ, or for a reduction that does not exist.
        """
        if cls_score.dim() != 2 or cls_score.shape != target.shape:
            raise UserError(
                f'SoftmaxL2Loss needs scores and multi-hot labels of one shape (N, C), got {tuple(cls_score.shape)} '
                f'and {tuple(target.shape)}'
            )
        if weight is not None and weight.shape != cls_score.shape[:1]:
            raise UserError(
                f'weight must have one entry for each of {len(cls_score)} pictures, got shape {tuple(weight.shape)}'
            )
        reduction = reduction_override or self.reduction
        check_choice('reduction_override', reduction, ('mean', 'sum', 'none'))
        labelled = (target > 0).any(dim=-1).sum().clamp(min=1)
        loss = self.loss_weight * softmax_l2(cls_score, target)
        return weight_reduce_loss(loss, weight, reduction, labelled if reduction == 'mean' else None)

"""The constraints on discovered regions, weighted."""

from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .constraints import anchor_penalty, boundary_penalty, overlap_penalty, positive_penalty, scale_penalty

__all__ = ['RegionConstraintLoss']


@MODELS.register_module()
class RegionConstraintLoss(nn.Module):
    """L_loc = l_S + lambda_1 l_A + lambda_2 l_P (Wang et al., ICCV 2017), term by term.

    The formulas are in ``mmlattn/models/st_lstm/constraints.py``. Boundary and overlap are not the paper's.

    Args:
        alpha (float): Scale above which a region is too large.
        beta (float): Scale below which a region is too small or mirrored.
        lambda_scale (float): Weight of l_S; 1 in the paper.
        lambda_anchor (float): lambda_1, weight of l_A.
        lambda_positive (float): lambda_2, weight of l_P.
        lambda_boundary (float): Weight of staying inside the picture.
        lambda_overlap (float): Weight of the mean IoU with the other regions.
        reduction_k (str): 'sum' over the regions, or 'mean'; always the mean over pictures.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.1,
        lambda_scale: float = 1.0,
        lambda_anchor: float = 0.01,
        lambda_positive: float = 0.1,
        lambda_boundary: float = 0.0,
        lambda_overlap: float = 0.0,
        reduction_k: str = 'sum',
    ) -> None:
        super().__init__()
        self.weights = dict(
            scale=lambda_scale,
            anchor=lambda_anchor,
            positive=lambda_positive,
            boundary=lambda_boundary,
            overlap=lambda_overlap,
        )
        for name, value in dict(alpha=alpha, beta=beta).items():
            check_number(name, value, least=0)
        if beta > alpha:
            raise UserError(
                f'scales should reach beta and not exceed alpha, but beta={beta} is above alpha={alpha}; lower beta'
            )
        for name, value in self.weights.items():
            check_number(f'lambda_{name}', value, least=0)
        check_choice('reduction_k', reduction_k, ('sum', 'mean'))
        self.alpha = alpha
        self.beta = beta
        self.reduction_k = reduction_k

    def forward(self, theta: Tensor, anchors: Tensor, anchor_mask: Tensor) -> dict[str, Tensor]:
        """Compute the terms.

        Args:
            theta (Tensor): Shape (B, K, 4).
            anchors (Tensor): Shape (K, 2).
            anchor_mask (Tensor): Shape (K,), bool.

        Returns:
            dict[str, Tensor]: ``scale``, ``anchor``, ``positive``, ``boundary`` and ``overlap``, those with a weight
            above 0, each weighted, shape ().
        """
        penalties = dict(
            scale=lambda: scale_penalty(theta, self.alpha),
            anchor=lambda: anchor_penalty(theta, anchors, anchor_mask),
            positive=lambda: positive_penalty(theta, self.beta),
            boundary=lambda: boundary_penalty(theta),
            overlap=lambda: overlap_penalty(theta),
        )
        return {
            name: weight * self._reduce(penalties[name]()) for name, weight in self.weights.items() if weight
        }

    def _reduce(self, penalty: Tensor) -> Tensor:
        per_picture = penalty.sum(dim=-1) if self.reduction_k == 'sum' else penalty.mean(dim=-1)
        return per_picture.mean()

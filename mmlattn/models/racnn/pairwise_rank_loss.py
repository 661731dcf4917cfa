"""The rank loss of RA-CNN."""

from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number

from .ranking import rank_hinges

__all__ = ['PairwiseRankLoss']


@MODELS.register_module()
class PairwiseRankLoss(nn.Module):
    """Sum over neighbouring scales of max(0, p_t^(s) - p_t^(s+1) + margin), see ``racnn/ranking.py``.

    Args:
        margin (float): 0.05 in public descriptions of the paper.
        detach_reference (bool): Whether the coarser scale of a pair is a constant.
        reduction (str): 'mean' or 'sum' over the batch. The authors' is not known. Where crops have the
            'boxcar' gradient it does not change the localizers' steps, which that gradient normalises by picture.
        loss_weight (float): Factor of the whole.
    """

    def __init__(
        self,
        margin: float = 0.05,
        detach_reference: bool = True,
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_number('margin', margin)
        check_choice('reduction', reduction, ('mean', 'sum'))
        check_number('loss_weight', loss_weight, least=0)
        self.margin, self.detach_reference = margin, detach_reference
        self.reduction, self.loss_weight = reduction, loss_weight

    def forward(self, probs: Tensor) -> Tensor:
        """The loss.

        Args:
            probs (Tensor): Probability of the true class at S scales from coarse to fine, shape (B, S).

        Returns:
            Tensor: A scalar.
        """
        hinges = rank_hinges(probs, self.margin, self.detach_reference).sum(dim=1)
        return self.loss_weight * (hinges.mean() if self.reduction == 'mean' else hinges.sum())

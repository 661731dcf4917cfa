"""Softmax regression of label shares."""

from torch import Tensor, nn

from mmlattn.registry import MODELS
from mmlattn.utils.arguments import check_choice, check_number
from mmlattn.utils.errors import UserError

from .softmax_l2 import softmax_l2

__all__ = ['SoftmaxL2Loss']


@MODELS.register_module()
class SoftmaxL2Loss(nn.Module):
    """Squared distance of softmax(scores) from the labels divided by their number (Wang et al., ICCV 2017).

    Summed over classes, averaged over the pictures that have labels: the others have no such shares, count
    nothing and get no gradient. The formula is in ``mmlattn/models/st_lstm/softmax_l2.py``.

    Args:
        reduction (str): 'mean' over the labelled pictures, 'sum', or 'none'.
        loss_weight (float): Factor.
    """

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
            target (Tensor): Multi-hot or soft labels, shape (N, C).
            weight (Tensor, optional): Of each picture, shape (N,).
            avg_factor (float, optional): Taken for the sake of mmpretrain's heads, which give the batch size, and not
                used: the mean is over the pictures with labels.
            reduction_override (str, optional): Instead of ``reduction``.

        Returns:
            Tensor: Shape (), or (N,) without reduction.

        Raises:
            UserError: If the shapes differ, or a reduction is not known.
        """
        if cls_score.dim() != 2 or cls_score.shape != target.shape:
            raise UserError(
                f'SoftmaxL2Loss needs scores and multi-hot labels of one shape (N, C), got {tuple(cls_score.shape)} '
                f'and {tuple(target.shape)}'
            )
        reduction = reduction_override or self.reduction
        check_choice('reduction_override', reduction, ('mean', 'sum', 'none'))
        loss = self.loss_weight * softmax_l2(cls_score, target)
        if weight is not None:
            if weight.shape != loss.shape:
                raise UserError(
                    f'weight must have one entry for each of {len(loss)} pictures, got shape {tuple(weight.shape)}'
                )
            loss = loss * weight
        if reduction == 'mean':
            return loss.sum() / (target.sum(dim=-1) > 0).sum().clamp(min=1)
        return loss.sum() if reduction == 'sum' else loss

"""From fused scores to labels, by the rule of the head that gave the scores."""

from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn

from mmlattn.utils.errors import UserError

__all__ = ['decide_labels', 'deciding_head', 'head_of']


def head_of(model: nn.Module) -> nn.Module | None:
    """The head of a classifier; of ``RACNN``, which has one in each of its networks, the first."""
    nets = getattr(model, 'nets', None)
    return getattr(nets[0] if nets else model, 'head', None)


def deciding_head(head: nn.Module) -> nn.Module:
    """The head itself, or the one in a wrapper such as ``RegionConstraintWrapper`` that has no rule of its own."""
    while isinstance(getattr(head, 'head', None), nn.Module) and not hasattr(head, 'select'):
        head = head.head
    return head


def decide_labels(head: nn.Module, scores: Tensor) -> list[Tensor]:
    """What the head would predict from these scores.

    Args:
        head (nn.Module): One with a rule of its own, ``select(scores)``; a ``MultiLabelClsHead`` of mmpretrain: the
            classes that reach ``thr`` or, without it, the ``topk`` best; a ``ClsHead``: the best class; or a wrapper
            of one of these.
        scores (Tensor): Shape (B, C), as the head's ``pred_score``.

    Returns:
        list[Tensor]: Class indices of each image, as the head's ``pred_label``.

    Raises:
        UserError: If the head is none of these.
    """
    head = deciding_head(head)
    if hasattr(head, 'select'):
        return head.select(scores)
    if isinstance(head, MultiLabelClsHead):
        if head.thr is not None:
            return [(row >= head.thr).nonzero()[:, 0] for row in scores]
        return list(scores.topk(head.topk, dim=1).indices)
    if isinstance(head, ClsHead):
        return list(scores.argmax(dim=1, keepdim=True))
    raise UserError(
        f'{type(head).__name__} has no rule to predict labels from fused scores: derive it from ClsHead or '
        'MultiLabelClsHead, or give it a method select(scores (B, C)) -> list of B label tensors'
    )

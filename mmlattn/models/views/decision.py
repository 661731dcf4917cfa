"""From fused scores to labels, by the rule of the head that gave the scores."""

from collections.abc import Sequence

from mmpretrain.models.heads import ClsHead, MultiLabelClsHead
from torch import Tensor, nn

from mmlattn.structures.labels import best_first, select_labels
from mmlattn.utils.errors import UserError


def head_of(model: nn.Module) -> nn.Module | None:
    """The head of a classifier; of ``RACNN``, which has one in each of its networks, the first."""
    nets = getattr(model, 'nets', None)
    return getattr(nets[0] if nets else model, 'head', None)


def deciding_head(head: nn.Module) -> nn.Module:
    """The head itself, or the one in a wrapper such as ``RegionConstraintWrapper`` that has no rule of its own."""
    while isinstance(getattr(head, 'head', None), nn.Module) and not hasattr(head, 'select'):
        head = head.head
    return head


def decide_labels(head: nn.Module, scores: Tensor, data_samples: Sequence | None = None) -> list[Tensor]:
    """The classes that the head would predict from fused scores (B, C): class indices of each image.

    A head with a method ``select(scores)`` decides by it, one that takes constraints, and so has ``rules``, also by
    what the B ``data_samples`` tell of the labels; a ``MultiLabelClsHead`` of mmpretrain by ``thr`` or else by
    ``topk``, a ``ClsHead`` for the best class, a wrapper as the head inside.

    Raises:
        UserError: If the head is none of these.
    """
    head = deciding_head(head)
    if hasattr(head, 'rules'):
        return head.select(scores, data_samples)
    if hasattr(head, 'select'):
        return head.select(scores)
    if isinstance(head, MultiLabelClsHead):
        if head.thr is not None:
            return [select_labels(row, head.thr) for row in scores]
        return [best_first(row, select_labels(row, topk=head.topk)) for row in scores]
    if isinstance(head, ClsHead):
        return list(scores.argmax(dim=1, keepdim=True))
    raise UserError(
        f'{type(head).__name__} has no rule to predict labels from fused scores: derive it from ClsHead or '
        'MultiLabelClsHead, or give it a method select(scores (B, C)) -> list of B label tensors'
    )

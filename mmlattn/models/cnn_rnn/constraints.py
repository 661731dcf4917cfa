"""What is known of an image's labels before decoding: present, absent, mutually exclusive, required by others.

The conditions are on the set of labels, whatever their order on the path. They only ever leave paths out, so what is
left keeps the probability the model gives it, and sums over it are the model's posterior given what is known.
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['LabelConstraints', 'allowed', 'implied']


class LabelConstraints(NamedTuple):
    """Conditions on the label sets of B images.

    =============  ============  ================================================================================
    field          shape         meaning
    =============  ============  ================================================================================
    ``present``    (B, C) bool   labels the path must contain
    ``absent``     (B, C) bool   labels it must not contain
    ``exclusive``  (C, C) bool   symmetric: pairs of labels that never go together; the diagonal is ignored
    ``parents``    (C, C) bool   row c: the labels c needs, and what they need (transitively closed); two labels may
                                 need each other; the diagonal is ignored
    ``count``      (B,) long     exactly so many labels, -1 where that is not known; None: of no image
    =============  ============  ================================================================================
    """

    present: Tensor
    absent: Tensor
    exclusive: Tensor
    parents: Tensor
    count: Tensor | None = None


def implied(constraints: LabelConstraints) -> LabelConstraints:
    """The constraints with what follows from them, as ``allowed`` expects them.

    Present becomes what present labels need; absent becomes what is exclusive with a present label, what needs an
    absent one, and what needs labels that exclude each other. An image whose constraints contradict each other has
    labels that are both.
    """
    others = ~torch.eye(constraints.parents.shape[0], dtype=torch.bool, device=constraints.parents.device)
    exclusive, parents = constraints.exclusive & others, constraints.parents & others
    families = parents | ~others
    divided = (_reached(families, exclusive) & families).any(dim=-1)
    present = constraints.present | _reached(constraints.present, parents)
    absent = constraints.absent | divided | _reached(present, exclusive)
    return LabelConstraints(
        present, absent | _reached(absent, parents.T), exclusive, parents, constraints.count
    )


def allowed(constraints: LabelConstraints, used: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """What may follow a path so that the whole can still meet the constraints.

    A path that keeps to it can always be completed, unless a minimal length or ``count`` asks for more labels than go
    together. ``count`` itself is not looked at: it limits ``room``, and the path may end where it is reached.

    Args:
        constraints (LabelConstraints): From ``implied``.
        used (Tensor): The labels on each path, shape (B, W, C), bool.
        room (Tensor): How many more labels fit, shape (B, W) or one that broadcasts to it, long.

    Returns:
        tuple[Tensor, Tensor]: Which labels may come next, shape (B, W, C), and whether the path may end, shape
        (B, W), both bool. Neither for an image whose constraints cannot be met.
    """
    parents = constraints.parents
    required = used | constraints.present[:, None]
    required = required | _reached(required, parents)
    owed = required & ~used
    ruled_out = constraints.absent[:, None] | _reached(required, constraints.exclusive)
    possible = ~(required & ruled_out).any(dim=-1)
    # A label adds those of its parents to what is owed that are not required yet; a required one takes itself off.
    owed_after = owed.sum(dim=-1, keepdim=True) + _degree(~required, parents.T) - required.long()
    barred = used | ruled_out | _reached(ruled_out, parents.T) | (owed_after >= room[..., None])
    return possible[..., None] & ~barred, possible & ~owed.any(dim=-1)


def _degree(labels: Tensor, relation: Tensor) -> Tensor:
    """How many labels of each set (..., C) point to each label by the relation (C, C), as whole numbers in double.

    Autocast would round others than double to its own type, and GPUs have no product of integer matrices.
    """
    return labels.double() @ relation.double()


def _reached(labels: Tensor, relation: Tensor) -> Tensor:
    """Which labels some label of a set points to."""
    return _degree(labels, relation) > 0

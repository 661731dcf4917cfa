"""What is known of a picture's labels before decoding: present, absent, mutually exclusive, required by others.

The conditions are on the set of labels, whatever their order on the path. They only ever leave paths out, so what is
left keeps the probability the model gives it, and sums over it are the model's posterior given what is known.
B is the number of pictures, W of paths, C of labels.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class LabelConstraints(NamedTuple):
    """Conditions on the label sets of B pictures."""

    present: Tensor
    """(B, C) bool, labels the path must contain."""
    absent: Tensor
    """(B, C) bool, labels it must not contain."""
    exclusive: Tensor
    """(C, C) bool, symmetric: pairs of labels that never go together; the diagonal is ignored."""
    parents: Tensor
    """(C, C) bool, row c: the labels c needs, and what they need (transitively closed); two labels may need each
    other; the diagonal is ignored."""
    count: Tensor | None = None
    """(B,) long, exactly so many labels, -1 where that is not known; None: of no picture."""

    def of_picture(self, row: int) -> 'LabelConstraints':
        """Those of one picture, B = 1."""
        one = slice(row, row + 1)
        count = None if self.count is None else self.count[one]
        return self._replace(present=self.present[one], absent=self.absent[one], count=count)


def implied(constraints: LabelConstraints) -> LabelConstraints:
    """Add what follows from the constraints.

    Present becomes what present labels need; absent becomes what is exclusive with a present label, what needs an
    absent one, and what needs labels that exclude each other. A picture whose constraints contradict each other has
    labels that are both.
    """
    others = ~torch.eye(constraints.parents.shape[0], dtype=torch.bool, device=constraints.parents.device)
    exclusive, parents = constraints.exclusive & others, constraints.parents & others
    families = parents | ~others
    divided = (_reached(families, exclusive) & families).any(dim=-1)
    present = constraints.present | _reached(constraints.present, parents)
    absent = constraints.absent | divided | _reached(present, exclusive)
    absent = absent | _reached(absent, parents.T)
    return LabelConstraints(present, absent, exclusive, parents, constraints.count)


def allowed(constraints: LabelConstraints, used: Tensor, room: int | Tensor) -> tuple[Tensor, Tensor]:
    """What may follow a path so that the whole can still meet the constraints.

    A path that keeps to it can always be completed, unless a minimal length or ``count`` asks for more labels than go
    together.

    Args:
        constraints (LabelConstraints): From ``implied``.
        used (Tensor): The labels on each path, shape (B, W, C) bool.
        room (int | Tensor): How many more labels fit, a number or long of a shape that broadcasts to (B, W).

    Returns:
        tuple[Tensor, Tensor]: Which labels may come next, (B, W, C) bool, and whether the path may end, (B, W) bool.
        Neither for a picture whose constraints cannot be met.
    """
    parents = constraints.parents
    required = used | constraints.present[:, None]
    required = required | _reached(required, parents)
    owed = required & ~used
    ruled_out = constraints.absent[:, None] | _reached(required, constraints.exclusive)
    possible = ~(required & ruled_out).any(dim=-1)
    may_end = possible & ~owed.any(dim=-1)
    room = torch.as_tensor(room, device=used.device)
    if constraints.count is not None:
        missing = constraints.count[:, None] - used.sum(dim=-1)
        counted = constraints.count[:, None] >= 0
        room = torch.where(counted, room.minimum(missing), room)
        may_end = may_end & (~counted | (missing == 0))
    # A label adds those of its parents to what is owed that are not required yet; a required one takes itself off.
    owed_after = owed.sum(dim=-1, keepdim=True) + _degree(~required, parents.T) - required.long()
    barred = used | ruled_out | _reached(ruled_out, parents.T) | (owed_after >= room[..., None])
    return possible[..., None] & ~barred, may_end


def _degree(labels: Tensor, relation: Tensor) -> Tensor:
    """How many labels of each set (..., C) point to each label by the relation (C, C), as whole numbers in double.

    Autocast would round others than double to its own type, and GPUs have no product of integer matrices.
    """
    return labels.double() @ relation.double()


def _reached(labels: Tensor, relation: Tensor) -> Tensor:
    """Which labels some label of a set points to."""
    return _degree(labels, relation) > 0

"""Unknown labels on their way from a data set to those who leave them out: what does not arrive counts as absent."""

import numpy as np
from mmpretrain.datasets.transforms import PackInputs

from mmlattn.structures.labels import UNKNOWN_FIELDS
from mmlattn.utils.errors import UserError

from .checks.splits import items_of, leaves, transforms_of


def has_unknown(dataset) -> bool:
    """Whether any picture of a data set, or of those that it wraps, has unknown labels."""
    return any(map(_any_unknown, leaves(dataset)))


def check_unknown_arrive(dataset, name: str, mend: str = '') -> None:
    """Raises ``UserError`` for unknown labels that the pipeline of a data set, called ``name``, drops.

    ``mend`` is what else than to keep them can be done.
    """
    if any(_drops_unknown(leaf) and _any_unknown(leaf) for leaf in leaves(dataset)):
        raise UserError(
            f'{name} has unknown labels (gt_label_ignore), which its pipeline drops, so that they would count as '
            f"absent: end it with dict(type='PackInputs', algorithm_keys=('gt_label_ignore', ...)){mend}"
        )


def _drops_unknown(leaf) -> bool:
    packs = [step for step in transforms_of(leaf) if isinstance(step, PackInputs)]
    return any(
        field not in (*pack.algorithm_keys, *pack.meta_keys) for pack in packs for field in UNKNOWN_FIELDS
    )


def _any_unknown(leaf) -> bool:
    items = (item for item in items_of(leaf, complete=False) if isinstance(item, dict))
    return any(np.size(item.get(field, ())) > 0 for item in items for field in UNKNOWN_FIELDS)

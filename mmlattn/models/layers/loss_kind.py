"""Whether the scores of a head are read as its loss trains them: each for itself, or one against the others."""

import logging

from mmengine.logging import print_log
from torch import nn


def warn_of_mismatch(head: nn.Module, loss: nn.Module, read_by: str, advice: str) -> None:
    """Warn of scores that are learnt by softmax and read by sigmoid, or the other way round, where the loss tells.

    Args:
        head (nn.Module): Whose name stands in the warning.
        loss (nn.Module): Tells by ``use_sigmoid``, as mmpretrain's losses do, or by the one of its part ``ce``.
        read_by (str): 'sigmoid' or 'softmax', how the head makes scores of its logits.
        advice (str): What to change.
    """
    by_sigmoid = getattr(getattr(loss, 'ce', loss), 'use_sigmoid', None)
    if by_sigmoid is None:
        return
    trained_by = 'sigmoid' if by_sigmoid else 'softmax'
    if trained_by != read_by:
        print_log(
            f'{type(head).__name__}: {type(loss).__name__} trains scores for a {trained_by}, but they are read with '
            f'a {read_by}, so its thresholds, and mAP, will suffer: {advice}',
            logger='current',
            level=logging.WARNING,
        )

"""Accuracy of looks that zoom in: scale by scale, together, and when they may stop early."""

from collections.abc import Sequence

import numpy as np


def class_ranks(scores: np.ndarray, label: int) -> np.ndarray:
    """How many classes stand before the true one in scores (..., C): 0 is a hit at top-1, less than k one at top-k.

    Of equal scores the lower class stands first, as in ``argmax``.
    """
    true = scores[..., label, None]
    return (scores > true).sum(axis=-1) + (scores[..., :label] == true).sum(axis=-1)


def scale_accuracy(
    scales: Sequence[np.ndarray], fused: Sequence[np.ndarray], topk: int = 1
) -> dict[str, float]:
    """Accuracy of each scale and of the first scales together, as fractions, each on the pictures it looked at.

    Args:
        scales (Sequence[ndarray]): For each picture (K,) :func:`class_ranks` of each scale, K of 1 or more; less
            than for others where inference stopped early.
        fused (Sequence[ndarray]): For each picture (K - 1,) ranks of scales 1 and 2 together, ... 1 to K together.
        topk (int): So many classes may be named.

    Returns:
        dict[str, float]: ``scale_1``, ``scale_2`` ..., ``scale_1+2``, ``scale_1+2+3`` ... and ``gain``: on all
        pictures, what the scales that looked say together, which is scale 1 where no other looked, less scale 1.
    """
    alone, together = ([ranks < topk for ranks in rows] for rows in (scales, fused))
    most = max(map(len, alone))
    accuracy = {f'scale_{scale + 1}': _mean_at(alone, scale) for scale in range(most)}
    for scale in range(1, most):
        accuracy['scale_' + '+'.join(str(s + 1) for s in range(scale + 1))] = _mean_at(together, scale - 1)
    last = [t[-1] if len(t) else a[0] for a, t in zip(alone, together, strict=True)]
    return accuracy | dict(gain=float(np.mean(last)) - accuracy['scale_1'])


def _mean_at(rows: Sequence[np.ndarray], index: int) -> float:
    return float(np.mean([row[index] for row in rows if index < len(row)]))


def exit_scales(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """The scale, counted from 0, after which each picture is done: the first that is sure enough, else the last.

    ``confidence`` (N, S) is the highest probability by scale 1, scales 1 and 2 together, ... 1 to S; ``threshold``
    or more is sure enough.
    """
    sure = confidence >= threshold
    sure[:, -1] = True
    return sure.argmax(axis=1)

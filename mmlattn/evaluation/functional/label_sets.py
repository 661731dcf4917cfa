"""How well predicted sets of labels fit the true ones.

Everywhere ``predicted`` and ``present`` are (N, C) bool, one set for each image: P_n and G_n. Ignored labels are in
neither; :func:`label_set_report` takes them out.

* exact = the share of images with P_n = G_n (subset accuracy).
* sample_F1 = mean_n 2 |P_n & G_n| / (|P_n| + |G_n|), 1 where both are empty.
* mean_length, gt_length = mean_n |P_n|, mean_n |G_n|; length_error is their difference and length_abs_error
  mean_n ||P_n| - |G_n||.
* cooccurrence_error = sum |p_ij - g_ij| / sum (p_ij + g_ij) over pairs i < j, with p_ij and g_ij the number of images
  whose predicted and whose true set have both i and j (Bray-Curtis dissimilarity of the two co-occurrence matrices).
  It is the share of all label pairs, predicted and true, that have no counterpart on the other side, whatever image
  they are in: 0 if every pair is predicted as often as it is true, 1 if no pair is ever both. Where as many pairs are
  predicted as are true it is the total variation distance of the two distributions over pairs.
* impossible_pairs = the share of predicted pairs of labels that are together in no true set.

``CP CR CF1 OP OR OF1 macro_F1`` are those of ``multi_label.py``, and mean_length / gt_length = OR / OP.
"""

from typing import NamedTuple

import numpy as np

from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .checks import check_scores
from .multi_label import class_rates, label_counts, precision_recall_f1


class LabelSetResult(NamedTuple):
    """What :func:`label_set_report` finds.

    ``shares`` are ``CP CR CF1 OP OR OF1 macro_F1 exact sample_F1 cooccurrence_error impossible_pairs`` as fractions,
    the last two NaN if there is no pair; ``lengths`` ``length_error length_abs_error mean_length gt_length`` in
    labels; ``per_class`` the (C,) arrays of :func:`class_rates`.
    """

    shares: dict[str, float]
    lengths: dict[str, float]
    per_class: dict[str, np.ndarray]


def cooccurrence(sets: np.ndarray) -> np.ndarray:
    """In how many sets the labels of each pair i < j are together: (C (C - 1) / 2,) float."""
    # Floats are exact up to 2 ** 24 images, and many times as fast as whole numbers.
    counted = sets.astype(np.float32)
    return (counted.T @ counted)[np.triu_indices(sets.shape[1], 1)].astype(float)


def label_set_report(predicted, targets) -> LabelSetResult:
    """Everything about predicted sets (N, C) bool; targets (N, C) are 1 present, 0 absent and -1 ignored."""
    predicted = as_array(predicted)
    if predicted.dtype != bool:
        raise UserError(f'predicted must be bool, got {predicted.dtype}')
    predicted, targets = check_scores(predicted, targets, 'predicted')
    counts = label_counts(predicted, targets)
    predicted, present = predicted & (targets >= 0), targets == 1
    ours, true = predicted.sum(axis=1), present.sum(axis=1)
    f1 = np.where(ours + true, 2 * (predicted & present).sum(axis=1) / np.maximum(ours + true, 1), 1)
    our_pairs, true_pairs = cooccurrence(predicted), cooccurrence(present)
    with np.errstate(invalid='ignore'):
        shares = dict(
            exact=(predicted == present).all(axis=1).mean(),
            sample_F1=f1.mean(),
            cooccurrence_error=abs(our_pairs - true_pairs).sum() / (our_pairs + true_pairs).sum(),
            impossible_pairs=our_pairs[true_pairs == 0].sum() / our_pairs.sum(),
        )
    error = ours - true
    lengths = dict(length_error=error, length_abs_error=abs(error), mean_length=ours, gt_length=true)
    return LabelSetResult(
        precision_recall_f1(counts) | {name: float(share) for name, share in shares.items()},
        {name: float(values.mean()) for name, values in lengths.items()},
        class_rates(counts),
    )

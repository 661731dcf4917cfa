"""mAP@k: average precision when every image names only its k best labels.

We found no source that says over what the mean of the CNN-RNN paper's "mAP@10" runs, so both are here, under names
that say it. Scores and targets are those of ``multi_label.py``, k is at least 1, results are fractions. The rank of a
label is the number of labels of its image, ignored ones aside, that score at least as high: of tied labels each has
the worst rank, as in scikit-learn's ``label_ranking_average_precision_score``. Those of rank k or better are named.
So the order of classes means nothing, and labels that tie at the border, such as all those of score 0, are not named.
"""

from collections.abc import Sequence

import numpy as np

from mmlattn.utils.arguments import check_whole

from .checks import check_scores
from .multi_label import CONVENTIONS, average_precision, mean_defined


def named_labels(scores: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
    """Labels of rank k or better, (N, C) bool: those above the best label but k of their image, no ignored ones."""
    known = targets >= 0
    if k >= scores.shape[1]:
        return known
    ranked = np.sort(np.where(known, scores, -np.inf), axis=1)
    return known & (scores > ranked[:, -k - 1, None])


def sample_ap_at(scores, targets, k: int) -> np.ndarray:
    """AP@k of each image: the precisions at the ranks of its named positives, over the most there can be.

    AP@k = 1 / min(k, P) sum over named positives c of (positives of rank(c) or better) / rank(c), with P the number
    of positives of the image: what Kaggle's competitions and ``ml_metrics.apk`` call it. With k = C it is the
    image's term of scikit-learn's ``label_ranking_average_precision_score``. To an image without a positive both
    give a number by convention; it is left out here.

    Returns:
        ndarray: (N,) float64, NaN where an image has no positive.
    """
    check_whole('k', k, 1)
    scores, targets = check_scores(scores, targets)
    known, positive = targets >= 0, targets == 1
    images, labels = np.nonzero(positive & named_labels(scores, targets, k))
    reaches = scores[images] >= scores[images, labels, None]
    precision = (reaches & positive[images]).sum(axis=1) / (reaches & known[images]).sum(axis=1)
    possible = np.minimum(positive.sum(axis=1), k)
    with np.errstate(invalid='ignore'):
        return np.bincount(images, precision, minlength=len(scores)) / possible


def class_ap_at(scores, targets, k: int, tied_scores: str = 'together') -> np.ndarray:
    """AP@k of each class: average precision of the images that name it, times the share of positives among them.

    That is (sum over positives that name the class of the precision at their score, among images that name it) /
    (all positives of the class). A positive that does not name its class is never retrieved and adds 0. No source
    defines it; with k = C it is the class's average precision.

    Returns:
        ndarray: (C,) float64, NaN where a class has no positive.
    """
    check_whole('k', k, 1)
    scores, targets = check_scores(scores, targets)
    named, positive = named_labels(scores, targets, k), targets == 1
    precision = average_precision(scores, np.where(named, targets, -1), tied_scores)
    with np.errstate(invalid='ignore'):
        recall = (named & positive).sum(axis=0) / positive.sum(axis=0)
    return np.nan_to_num(precision) * recall


def mean_ap_at(scores, targets, ks: Sequence[int], convention: str = 'mmlattn') -> dict[str, float]:
    """Both means of AP@k, for each k.

    Returns:
        dict[str, float]: ``mAP<k>_sample``, the mean over images that have a positive, and ``mAP<k>_class``, over
        classes, where ``convention`` says how tied images and classes without a positive count; NaN if there is no
        positive at all.
    """
    rules, means = CONVENTIONS[convention], {}
    for k in ks:
        by_class = class_ap_at(scores, targets, k, rules.tied_scores)
        means[f'mAP{k}_sample'] = mean_defined(sample_ap_at(scores, targets, k))
        means[f'mAP{k}_class'] = mean_defined(np.nan_to_num(by_class) if rules.absent_as_zero else by_class)
    return means

"""Where a model is wrong: by class, by pair of classes, by picture, by label.

N is the number of pictures, C that of classes. Everywhere ``predicted`` is (N, C) bool, ``targets`` (N, C) with 1
present, 0 absent and -1 unknown, and ``scores`` (N, C) in [0, 1], taken as probabilities. A label that is unknown is
counted nowhere but under ``unknown``. With one label each, ``truth`` and ``answers`` are (N,) classes.

Probable label errors follow C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in
Dataset Labels", JAIR 70, 2021: a label is contradicted where the model is at least as sure of another one as it is,
in the mean, of the pictures that carry that other one. With several labels each, a class is a question with two
answers.
"""

from typing import NamedTuple

import numpy as np

from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError

from .checks import check_scores
from .multi_label import average_precision, class_rates, label_counts

#: Logarithms are taken of this at least, so that what was thought impossible has a loss too: 16.1.
SMALLEST = 1e-7


class ClassTables(NamedTuple):
    """The 2 x 2 table of each class, (C,) int64: predicted and present, predicted only, present only, neither."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray
    unknown: np.ndarray


class PairTables(NamedTuple):
    """In how many pictures two classes are what, (C, C) int64; 0 on the diagonal.

    Attributes:
        predicted: Both are predicted and known. Symmetric, as ``present`` is.
        present: Both are present.
        added: Both are predicted, but only the column's is present.
        invented: Both are predicted, and neither is present. Symmetric, as ``overlooked`` is.
        dropped: Both are present, but only the column's is predicted.
        overlooked: Both are present, and neither is predicted.
        mistaken: The row's is present and not predicted, the column's is predicted and not present.
    """

    predicted: np.ndarray
    present: np.ndarray
    added: np.ndarray
    invented: np.ndarray
    dropped: np.ndarray
    overlooked: np.ndarray
    mistaken: np.ndarray


def outcome_masks(predicted, targets) -> dict[str, np.ndarray]:
    """``tp fp fn tn``: in which place of its 2 x 2 table each label is, (N, C) bool each, unknown ones in none."""
    predicted = as_array(predicted)
    if predicted.dtype != bool:
        raise UserError(f'predicted must be bool, got {predicted.dtype}')
    predicted, targets = check_scores(predicted, targets, 'predicted')
    present, absent = targets == 1, targets == 0
    return dict(
        tp=predicted & present, fp=predicted & absent, fn=~predicted & present, tn=~predicted & absent
    )


def class_tables(predicted, targets) -> ClassTables:
    """The 2 x 2 table of each class."""
    masks = outcome_masks(predicted, targets)
    counts = {name: np.count_nonzero(mask, axis=0) for name, mask in masks.items()}
    return ClassTables(**counts, unknown=len(masks['tp']) - sum(counts.values()))


def class_columns(scores, predicted, targets) -> dict[str, np.ndarray]:
    """``precision recall F1 AP`` of each class, (C,), NaN where there is none; see ``multi_label.py``."""
    rates = class_rates(label_counts(as_array(predicted), targets))
    return {name: rates[name] for name in ('precision', 'recall', 'F1')} | dict(
        AP=average_precision(scores, targets)
    )


def pair_tables(predicted, targets) -> PairTables:
    """What is predicted together and is not, and the other way round, for each pair of classes."""
    # Floats are exact up to 2 ** 24 pictures, and many times as fast as whole numbers.
    masks = {name: mask.astype(np.float32) for name, mask in outcome_masks(predicted, targets).items()}
    tp, fp, fn = masks['tp'], masks['fp'], masks['fn']
    named, present = tp + fp, tp + fn
    pairs = dict(
        predicted=(named, named),
        present=(present, present),
        added=(fp, tp),
        invented=(fp, fp),
        dropped=(fn, tp),
        overlooked=(fn, fn),
        mistaken=(fn, fp),
    )
    counts = {name: np.rint(rows.T @ columns).astype(np.int64) for name, (rows, columns) in pairs.items()}
    for count in counts.values():
        np.fill_diagonal(count, 0)
    return PairTables(**counts)


def confusion_matrix(truth, answers, num_classes: int) -> np.ndarray:
    """How many pictures of each class (row) are taken for each class (column): (C, C) int64."""
    truth, answers = as_array(truth).astype(np.int64), as_array(answers).astype(np.int64)
    return np.bincount(truth * num_classes + answers, minlength=num_classes**2).reshape(num_classes, -1)


def label_losses(scores, targets) -> np.ndarray:
    """The cross-entropy of each label, (N, C) float64 in nats; NaN where it is unknown."""
    scores, targets = check_probabilities(scores, targets)
    given = np.where(targets == 1, scores, 1 - scores)
    return np.where(targets < 0, np.nan, -np.log(np.maximum(given, SMALLEST)))


def picture_losses(scores, targets, exclusive: bool = False) -> np.ndarray:
    """The loss of each picture, (N,) float64 in nats; NaN where nothing is known.

    The mean of its known labels' :func:`label_losses`; with ``exclusive``, where each has one label, the
    cross-entropy of that class.
    """
    losses = label_losses(scores, targets)
    counted = as_array(targets) == 1 if exclusive else ~np.isnan(losses)
    total, count = np.where(counted, losses, 0).sum(axis=1), counted.sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def doubts(scores, exclusive: bool = False) -> np.ndarray:
    """How undecided the model is about each picture, whatever the truth: (N,) float64, entropy in bits.

    The sum over classes of the entropy of present or absent; with ``exclusive`` that of the one class.
    """
    scores = as_array(scores).astype(np.float64)
    own = _information(scores)
    return own.sum(axis=1) if exclusive else (own + _information(1 - scores)).sum(axis=1)


def contradicted_labels(scores, targets) -> np.ndarray:
    """Labels that are probably wrong, (N, C) bool, by confident learning for each class.

    Absent, and the model is as sure of it as of the present ones in the mean; or present, and it is as sure of its
    absence as of the absent ones'. Where it is as sure of the label itself, by the same measure, the other answer
    must be the likelier one. A class without a present label has no such mean, so none of its absent ones is
    contradicted, and the other way round.
    """
    scores, targets = check_probabilities(scores, targets)
    present, absent = targets == 1, targets == 0
    sure_present, sure_absent = _mean_where(scores, present), _mean_where(1 - scores, absent)
    with np.errstate(invalid='ignore'):
        says_present, says_absent = scores >= sure_present, 1 - scores >= sure_absent
    unlisted = absent & says_present & (~says_absent | (scores > 0.5))
    untrue = present & says_absent & (~says_present | (scores < 0.5))
    return unlisted | untrue


def contradicted_classes(scores, truth) -> np.ndarray:
    """The class that each picture probably has in place of its own, (N,) int64, -1 where its own stands.

    Of the classes that the model is as sure of as it is of their own pictures in the mean, the likeliest.
    """
    scores, truth = as_array(scores).astype(np.float64), as_array(truth).astype(np.int64)
    one_hot = truth[:, None] == np.arange(scores.shape[1])
    with np.errstate(invalid='ignore'):
        sure = scores >= _mean_where(scores, one_hot)
    best = np.where(sure, scores, -1).argmax(axis=1)
    return np.where(sure.any(axis=1) & (best != truth), best, -1)


def largest(values, among=None, most: int | None = None) -> np.ndarray:
    """Where a flat array is largest, best first, at most so many; NaN never, of equals the first one first."""
    values = as_array(values).astype(np.float64)
    allowed = ~np.isnan(values) if among is None else as_array(among) & ~np.isnan(values)
    order = np.argsort(-np.where(allowed, values, -np.inf), kind='stable')
    return order[: np.count_nonzero(allowed)][:most]


def check_probabilities(scores, targets) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, scores in float64; raises ``UserError`` unless they are (N, C) and scores lie in [0, 1]."""
    scores, targets = check_scores(scores, targets)
    if scores.min() < 0 or scores.max() > 1:
        raise UserError(
            f'scores must lie in [0, 1] to be taken as probabilities, got {scores.min():g} to {scores.max():g}: use '
            'predictions of a classifier, whose pred_score is a sigmoid or a softmax'
        )
    return scores.astype(np.float64), targets


def _information(probabilities: np.ndarray) -> np.ndarray:
    """-p log2(p), 0 where p is 0."""
    return -probabilities * np.log2(np.where(probabilities > 0, probabilities, 1))


def _mean_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of each column over the rows of its mask, NaN without any."""
    count = mask.sum(axis=0)
    return np.where(count > 0, np.where(mask, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)

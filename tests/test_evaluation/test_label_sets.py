"""Numbers of label sets against scikit-learn, scipy, loops, and values worked out by hand."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import braycurtis
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from mmlattn.evaluation.functional import label_set_report


def draw(images=83, classes=6, seed=0):
    """Seeded sets, predicted and present, some of them empty, the first two on both sides."""
    rng = np.random.default_rng(seed)
    present = rng.random((images, classes)) < 0.25
    predicted = np.where(rng.random(present.shape) < 0.8, present, rng.random(present.shape) < 0.3)
    present[:2] = predicted[:2] = False
    return predicted, present


def sets(*rows, classes=4):
    made = np.zeros((len(rows), classes), bool)
    for row, labels in zip(made, rows, strict=True):
        row[list(labels)] = True
    return made


def test_agreement_is_scikit_learns():
    predicted, present = draw()
    report = label_set_report(torch.from_numpy(predicted), torch.from_numpy(present).long())
    assert report.shares['exact'] == pytest.approx(accuracy_score(present, predicted))
    assert report.shares['sample_F1'] == pytest.approx(
        f1_score(present, predicted, average='samples', zero_division=1)
    )
    precision, recall, f1, positives = precision_recall_fscore_support(present, predicted)
    for name, expected in dict(precision=precision, recall=recall, F1=f1, positives=positives).items():
        np.testing.assert_allclose(report.per_class[name], expected)


def test_pairs_are_scipys_and_a_loops():
    predicted, present = draw()
    pairs = list(combinations(range(6), 2))
    counts = [[(found[:, i] & found[:, j]).sum() for i, j in pairs] for found in (predicted, present)]
    shares = label_set_report(predicted, present).shares
    assert 0 < shares['cooccurrence_error'] == pytest.approx(braycurtis(*counts))
    impossible = [p for p, g in zip(*counts, strict=True) if not g]
    assert shares['impossible_pairs'] == pytest.approx(sum(impossible) / sum(counts[0]))


def test_pairs_by_hand():
    """Predicted 01 twice, 12, 02; true 01 three times, 13: 1 + 1 + 1 + 1 pairs of 8 have no counterpart."""
    shares = label_set_report(sets([0, 1], [0, 1, 2], [3], []), sets([0, 1], [0, 1], [1, 0], [1, 3])).shares
    assert (shares['cooccurrence_error'], shares['impossible_pairs']) == (4 / 8, 2 / 4)


def test_right_pairs_on_wrong_images_are_no_cooccurrence_error():
    shares = label_set_report(sets([0, 1], [2, 3]), sets([2, 3], [0, 1])).shares
    assert (shares['cooccurrence_error'], shares['impossible_pairs'], shares['exact']) == (0, 0, 0)


def test_impossible_pairs_count_as_often_as_they_are_predicted():
    shares = label_set_report(sets([2, 3], [2, 3], [0, 1]), sets([0, 1], [0], [3])).shares
    assert shares['impossible_pairs'] == pytest.approx(2 / 3)


def test_without_pairs_their_shares_do_not_exist():
    assert np.isnan(
        [
            label_set_report(sets([0], []), sets([1], [2])).shares[n]
            for n in ('cooccurrence_error', 'impossible_pairs')
        ]
    ).all()
    shares = label_set_report(sets([0]), sets([0, 1])).shares
    assert shares['cooccurrence_error'] == 1 and np.isnan(shares['impossible_pairs'])


def test_lengths_by_hand():
    lengths = label_set_report(sets([0], [0, 1, 2], [], [3]), sets([1, 2], [0], [], [3])).lengths
    assert lengths == dict(length_error=1 / 4, length_abs_error=3 / 4, mean_length=5 / 4, gt_length=1)


def test_length_of_a_protocol_can_be_read_off_its_precision_and_recall():
    """Three labels for every image, as on NUS-WIDE: predicted / true number = OR / OP."""
    rng = np.random.default_rng(3)
    predicted = rng.random((50, 9)).argsort(axis=1) < 3
    report = label_set_report(predicted, rng.random((50, 9)) < 0.3)
    assert report.lengths['gt_length'] * report.shares['OR'] / report.shares['OP'] == pytest.approx(3)


def test_ignored_labels_are_in_no_set():
    """Whatever is said about them, the report is that of the sets without them."""
    predicted, present = draw()
    ignored = np.random.default_rng(1).random(present.shape) < 0.2
    report = label_set_report(predicted | ignored, np.where(ignored, -1, present))
    same = label_set_report(predicted & ~ignored, np.where(ignored, -1, present))
    plain = label_set_report(predicted & ~ignored, present & ~ignored)
    assert report.shares == same.shares == plain.shares and report.lengths == plain.lengths


@pytest.mark.parametrize(
    ('predicted', 'targets', 'words'),
    [
        (np.zeros((0, 3), bool), np.zeros((0, 3)), r'must both be \(N, C\) .* got \(0, 3\)'),
        (np.zeros((2, 3), bool), np.zeros((2, 4)), r'must both be \(N, C\) .* got \(2, 3\) and \(2, 4\)'),
        (np.zeros((2, 3)), np.zeros((2, 3)), 'predicted must be bool, got float64'),
        (np.zeros(3, bool), np.zeros(3), r'predicted and targets must both be \(N, C\)'),
        (np.zeros((2, 3), bool), np.full((2, 3), 2), r'targets must be 1 \(present\)'),
    ],
)
def test_bad_input(predicted, targets, words):
    with pytest.raises(ValueError, match=words):
        label_set_report(predicted, targets)

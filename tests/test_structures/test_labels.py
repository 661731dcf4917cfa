"""Ground truth and selection: one rule, against brute force and against what heads and metrics do with it."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.structures import (
    check_sets,
    label_matrix,
    listed_labels,
    select_labels,
    selection_mask,
    true_class,
    true_classes,
)
from mmlattn.structures.labels import best_first, label_sets
from mmlattn.utils.errors import UserError

NAN, INF = float('nan'), float('inf')


def test_predicted_labels_in_order():
    """Whatever the order they come in; of equal scores the lower class first."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, labels = rng.integers(0, 4, 12) / 4, rng.permutation(12)[: rng.integers(13)]
        expected = sorted(labels.tolist(), key=lambda label: (-scores[label], label))
        assert best_first(torch.tensor(scores), torch.tensor(labels)).tolist() == expected


def test_listed_labels_as_sets():
    sets = label_sets([[2, 0], (), {1}, torch.tensor([2, 2]).tolist()], 3)
    assert sets.dtype == bool and sets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert label_sets([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ('scores', 'threshold', 'topk', 'labels'),
    [
        ([0.5, 0.49, 0.9], 0.5, None, [0, 2]),
        ([0.5, 0.49, 0.9], [0.6, 0.4, 0.95], None, [1]),
        ([0.5, 0.49, 0.9], None, 1, [2]),
        ([0.5, 0.9, 0.5, 0.5], None, 2, [0, 1]),
        ([0.1, 0.2, 0.3], 0.5, 2, []),
        ([0.6, 0.2, 0.7, 0.8], 0.5, 2, [2, 3]),
        ([0.1, 0.2, 0.3], None, 9, [0, 1, 2]),
        ([0.1, -INF, 0.3], None, None, [0, 1, 2]),
        ([NAN, 0.2, 0.3], None, 1, [2]),
        ([NAN, 0.2, NAN], 0.1, 2, [1]),
        ([NAN, NAN, NAN], None, 2, []),
        ([INF, INF, 0.3], None, 1, [0]),
        ([1, 0, 2], 0.5, None, [0, 2]),
    ],
)
def test_which_labels_are_selected(scores, threshold, topk, labels):
    assert select_labels(torch.tensor(scores), threshold, topk).tolist() == labels


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize('topk', [None, 1, 3, 8, 20])
@pytest.mark.parametrize('threshold', [None, 0.5, torch.linspace(0.2, 0.9, 8)])
def test_a_batch_of_tied_scores_against_a_stable_sort(dtype, topk, threshold):
    scores = (
        torch.rand(5, 40, 8, generator=torch.Generator().manual_seed(0)).mul(10).round().div(10).to(dtype)
    )
    expected = torch.zeros(scores.shape, dtype=torch.bool)
    limits = torch.as_tensor(0.0 if threshold is None else threshold).to(dtype).expand(8)
    for index in np.ndindex(5, 40):
        row = scores[index].tolist()
        best = sorted(range(8), key=lambda c: -row[c])[:topk]  # Python's sort is stable
        for label in best:
            expected[(*index, label)] = row[label] >= limits[label]
    assert torch.equal(selection_mask(scores, threshold, topk), expected)


def test_topk_below_one_is_refused():
    with pytest.raises(UserError, match='topk must be at least 1, got 0'):
        select_labels(torch.rand(3), 0.5, 0)


def test_what_samples_say_of_each_class():
    ignoring = DataSample().set_gt_label([0, 2])
    ignoring.set_field([0, 1], 'gt_label_ignore', field_type='metainfo')
    difficult = DataSample().set_gt_score(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    difficult.set_field(torch.tensor([3, 2]), 'gt_label_difficult')
    samples = [
        DataSample().set_gt_label([3, 1, 3]),
        DataSample().set_gt_label(torch.zeros(0, dtype=torch.long)),
        ignoring,
        difficult,
        DataSample().set_gt_score(torch.tensor([0.3, 0.7, 0.0, -1.0])).set_gt_label([2]),
        dict(gt_label=np.array([1])),
        dict(gt_score=[1, 0, 0, -1], gt_label_difficult=None),
    ]
    expected = torch.tensor(
        [
            [0, 1, 0, 1],
            [0, 0, 0, 0],
            [1, -1, 1, 0],
            [0, 0, 1, -1],
            [0.3, 0.7, 0, -1],
            [0, 1, 0, 0],
            [1, 0, 0, -1],
        ]
    )
    assert torch.equal(label_matrix(samples, 4), expected)
    with pytest.raises(UserError, match=r'Reader takes sets of labels.*between 0 and 1: \[0\.3.*Mixup'):
        check_sets(label_matrix(samples, 4), 'Reader')
    check_sets(label_matrix(samples[:4], 4), 'Reader')
    assert [x.tolist() for x in listed_labels(samples[:3], 4)] == [[3, 1, 3], [], [0, 2]]


@pytest.mark.parametrize(
    ('sample', 'words'),
    [
        (dict(img_path='a.jpg'), 'neither gt_label nor gt_score: a.jpg'),
        (dict(gt_label=[4]), r'gt_label holds \[4\] but the model scores 4 classes \(0 to 3\)'),
        (dict(gt_label=[-1], img_path='a.jpg'), r'gt_label holds \[-1\].*annotation of a\.jpg'),
        (dict(gt_label=torch.tensor([0.5])), r'indices of classes, got \[0\.5\]'),
        (dict(gt_label=torch.tensor([True])), r'indices of classes, got \[True\]'),
        (dict(gt_label=[0], gt_label_ignore=[9]), r'gt_label_ignore holds \[9\]'),
        (dict(gt_score=torch.zeros(7)), r'gt_score must be \(4,\), got \(7,\).*num_classes'),
        (dict(gt_score=torch.tensor([0, 2.0, 0, 0])), r'gt_score must be 1 .*got \[2\.0\]'),
        (dict(gt_score=torch.tensor([0, -0.5, 0, 0])), r'got \[-0\.5\]'),
        (dict(gt_score=torch.tensor([0, NAN, 0, 0])), r'got \[nan\]'),
    ],
)
def test_what_does_not_fit_the_classes_is_refused(sample, words):
    with pytest.raises(UserError, match=words):
        label_matrix([dict(gt_label=[1]), sample], 4)


def test_a_list_is_needed_for_its_order():
    with pytest.raises(UserError, match=r'a\.jpg has no gt_label: use a data set'):
        listed_labels([dict(gt_score=torch.zeros(3), img_path='a.jpg')], 3)


def test_one_class_each():
    single = [DataSample().set_gt_label(2), DataSample().set_gt_label([0])]
    assert true_classes(single, 3).tolist() == [2, 0] == [true_class(sample, 3) for sample in single]
    mixed = [DataSample().set_gt_score(torch.tensor([0.2, 0.8, 0.0])) for _ in range(2)]
    assert torch.equal(true_classes(mixed, 3), torch.tensor([[0.2, 0.8, 0.0]] * 2))


@pytest.mark.parametrize(
    ('samples', 'words'),
    [
        ([[0], []], r'one label for each picture is needed, gt_label of shape \(1,\), got \(0,\)'),
        ([[0], [1, 2]], r'got \(2,\)'),
        ([[0], [3]], r'labels must be 0 to 2, got \[0, 3\].*num_classes'),
        ([[0], [-100]], 'labels must be 0 to 2'),
        ([[0], [1.0, 0, 0]], r'gt_label of shape \(1,\), got None'),
        ([[1.0, 0, 0], [0]], r'gt_score of shape \(3,\), got None'),
        ([[1.0, 0]] * 2, r'gt_score of shape \(3,\), got \(2,\)'),
        ([[1.0, 1, 0]] * 2, r'must sum to 1.*got sums \[2\.0, 2\.0\]'),
        ([[NAN, 1, 0]] * 2, 'must sum to 1'),
    ],
)
def test_anything_but_one_class_each_is_refused(samples, words):
    samples = [
        DataSample(**{'gt_score' if x and isinstance(x[0], float) else 'gt_label': torch.tensor(x)})
        for x in samples
    ]
    with pytest.raises(UserError, match=words):
        true_classes(samples, 3)


@pytest.mark.parametrize(
    ('labels', 'words'), [([], r'got \[\]'), ([0, 1], r'got \[0, 1\]'), ([3], 'num_classes')]
)
def test_one_class_of_a_sample(labels, words):
    with pytest.raises(UserError, match=words):
        true_class(dict(gt_label=torch.tensor(labels)), 3)

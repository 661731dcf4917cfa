"""mAP@k against scikit-learn, walks down the ranking, and values worked out by hand."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from mmlattn.evaluation import MultiLabelReport
from mmlattn.evaluation.functional.ranking import class_ap_at, mean_ap_at, sample_ap_at

IMAGES, CLASSES = 60, 7


def draw(levels=None, ignore=0.0):
    """Seeded scores and targets: ``levels`` makes ties, ``ignore`` is the share of ignored entries."""
    rng = np.random.default_rng(0)
    targets = (rng.random((IMAGES, CLASSES)) < 0.3).astype(int)
    targets[0] = 0
    scores = rng.random(targets.shape) + 0.4 * targets
    scores = np.round(scores * levels) / levels if levels else scores
    targets[rng.random(targets.shape) < ignore] = -1
    return scores, targets


def walk(relevant, possible):
    """Average precision of one list, best first, as a loop."""
    hits = total = 0
    for rank, is_relevant in enumerate(relevant, 1):
        if is_relevant:
            hits += 1
            total += hits / rank
    return total / possible if possible else np.nan


@pytest.mark.parametrize('k', [CLASSES, CLASSES + 3])
@pytest.mark.parametrize('levels', [None, 4])
def test_without_a_cut_both_are_scikit_learns(levels, k):
    scores, targets = draw(levels)
    by_image, has = sample_ap_at(torch.from_numpy(scores), torch.from_numpy(targets), k), targets.any(axis=1)
    assert np.isnan(by_image[~has]).all() and not has.all()
    assert by_image[has].mean() == pytest.approx(
        label_ranking_average_precision_score(targets[has], scores[has])
    )
    np.testing.assert_allclose(
        class_ap_at(scores, targets, k), average_precision_score(targets, scores, average=None)
    )


@pytest.mark.parametrize('ignore', [0.0, 0.25])
@pytest.mark.parametrize('k', [1, 2, 4, CLASSES + 3])
def test_cut_rankings_are_walked_down(k, ignore):
    scores, targets = draw(ignore=ignore)
    by_image, named = [], np.zeros(targets.shape, bool)
    for n, (row, target) in enumerate(zip(scores, targets, strict=True)):
        order = [c for c in np.argsort(-row) if target[c] >= 0][:k]
        named[n, order] = True
        by_image.append(walk(target[order] == 1, min(k, (target == 1).sum())))
    by_class = [
        walk(
            [targets[n, c] == 1 for n in np.argsort(-scores[:, c]) if named[n, c]], (targets[:, c] == 1).sum()
        )
        for c in range(CLASSES)
    ]
    np.testing.assert_allclose(sample_ap_at(scores, targets, k), by_image)
    np.testing.assert_allclose(class_ap_at(scores, targets, k), by_class)
    both = mean_ap_at(scores, targets, (k,))
    assert both == pytest.approx({f'mAP{k}_sample': np.nanmean(by_image), f'mAP{k}_class': np.mean(by_class)})


def test_images_without_a_positive_have_a_number_by_convention_alone():
    """scikit-learn's is 1, that of ``apk`` in Kaggle's ``ml_metrics`` 1 or 0 by version: ours leaves them out."""
    scores, targets = draw()
    has = targets.any(axis=1)
    ours, theirs = (
        mean_ap_at(scores, targets, (CLASSES,)),
        label_ranking_average_precision_score(targets, scores),
    )
    assert not has.all()
    assert theirs == pytest.approx(has.mean() * ours[f'mAP{CLASSES}_sample'] + (1 - has.mean()))


@pytest.mark.parametrize(
    ('scores', 'target', 'k', 'expected'),
    [
        ([0.9, 0.8, 0.7, 0.1], [0, 1, 1, 1], 2, 1 / 2 / 2),
        ([0.9, 0.8, 0.7, 0.1], [-1, 1, 1, 1], 2, 1),  # an ignored label takes no place
        ([0.5, 0.5, 0.1], [1, 0, 0], 1, 0),  # tied at the border: not named
        ([0.5, 0.5, 0.1], [1, 0, 0], 2, 1 / 2),  # tied: the worse rank
        ([0.9, 0, 0, 0], [1, 0, 0, 1], 3, 1 / 2),  # scores of 0 that no path gave name nothing
    ],
)
def test_image_by_hand(scores, target, k, expected):
    for order in ([0, 1, 2, 3][: len(scores)], [3, 2, 1, 0][-len(scores) :]):
        assert sample_ap_at(np.array([scores])[:, order], np.array([target])[:, order], k) == pytest.approx(
            expected
        )


def test_class_by_hand():
    """Of class 0 the positives are images 0 and 2; image 2 names class 1, image 1 wrongly names class 0, before 0."""
    scores = np.array([[0.6, 0.5], [0.7, 0.2], [0.8, 0.9]])
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    np.testing.assert_allclose(class_ap_at(scores, targets, 1), [1 / 2 / 2, np.nan])
    assert mean_ap_at(scores, targets, (1,))['mAP1_class'] == 1 / 4
    assert (
        mean_ap_at(scores, targets, (1,), 'mmpretrain')['mAP1_class'] == 1 / 8
    )  # absent classes count 0 there


def test_a_class_that_no_image_names_has_an_ap_of_nought():
    """It has a positive, so it counts: leaving it out would reward silence."""
    scores, targets = np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 1], [0, 0]])
    assert class_ap_at(scores, targets, 1).tolist() == [1, 0]
    assert mean_ap_at(scores, targets, (1,))['mAP1_class'] == 1 / 2


def test_the_metric_adds_them_only_if_asked():
    scores, targets = draw(ignore=0.2)
    samples = [
        DataSample().set_pred_score(torch.from_numpy(s)).set_gt_score(torch.from_numpy(t).float())
        for s, t in zip(scores.astype(np.float32), targets, strict=True)
    ]
    plain, asked = (Evaluator([MultiLabelReport(**options)]) for options in ({}, dict(map_at=(2, 10))))
    results = []
    for evaluator in (plain, asked):
        evaluator.process(samples)
        results.append(evaluator.evaluate(IMAGES))
    added = {
        name.removeprefix('multi-label/'): results[1][name] for name in results[1].keys() - results[0].keys()
    }
    expected = mean_ap_at(scores.astype(np.float32), targets, (2, 10))
    assert added == pytest.approx({name: 100 * value for name, value in expected.items()})


@pytest.mark.parametrize('map_at', [10, (0,), (2.5,), (True,)])
def test_bad_options(map_at):
    with pytest.raises(ValueError, match='map_at must be a list of whole numbers'):
        MultiLabelReport(map_at=map_at)

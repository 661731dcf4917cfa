"""Accuracy scale by scale, by hand and as scikit-learn counts it."""

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from mmlattn.evaluation import ScaleAccuracy
from mmlattn.evaluation.functional.scales import class_ranks, exit_scales
from mmlattn.utils.errors import UserError


def make_sample(label, output, scales, fused=None):
    """One picture that each scale, and the first ones together, takes for a class."""
    looks = len(scales)
    sample = dict(
        gt_label=torch.tensor([label]),
        pred_score=torch.eye(4)[output],
        regions=torch.zeros(looks, 4),
        region_names=tuple(f'scale {k + 1}' for k in range(looks)),
        region_scores=torch.eye(4)[list(scales)],
    )
    return sample if fused is None else dict(sample, fused_scores=torch.eye(4)[list(fused)])


def score(*samples, **options):
    metric = ScaleAccuracy(**options)
    metric.process(None, samples)
    assert len(metric.results) == len(samples)
    return metric.compute_metrics(metric.results)


def test_pictures_that_stop_early_by_hand():
    result = score(
        make_sample(0, 0, [0]),  # sure and right; nothing is said together
        make_sample(1, 3, [3]),  # sure and wrong
        make_sample(2, 2, [0, 1], [2]),  # the two together know better
        make_sample(3, 0, [3, 3, 3], [3, 1]),  # together worse than each, and the output is something else
        make_sample(0, 0, [1, 0, 1], [1, 0]),
    )
    assert result == pytest.approx(
        {
            'output': 100 * 3 / 5,
            'scale_1': 100 * 2 / 5,
            'scale_2': 100 * 2 / 3,
            'scale_3': 100 * 1 / 2,
            'scale_1+2': 100 * 2 / 3,
            'scale_1+2+3': 100 * 1 / 2,
            'gain': 100 * (3 - 2) / 5,  # 0: right, 2: right, 4: right; scale 1: pictures 0 and 3
            'scale_2_pictures': 3,
            'scale_3_pictures': 2,
            'mean_scales': (1 + 1 + 2 + 3 + 3) / 5,
        }
    )


def test_nothing_follows_where_every_picture_stops():
    result = score(make_sample(0, 0, [0]), make_sample(1, 0, [0]))
    assert result == dict(output=50, scale_1=50, gain=0, mean_scales=1)


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    number, classes, k = 60, 6, 3
    labels = np.arange(number) % classes
    output, scales, fused = (rng.random((number, n, classes), dtype=np.float32) for n in (1, 3, 2))
    samples = [
        dict(
            make_sample(0, 0, [0, 0, 0]),
            gt_label=torch.tensor([label]),
            pred_score=torch.from_numpy(output[i, 0]),
            region_scores=torch.from_numpy(scales[i]),
            fused_scores=torch.from_numpy(fused[i]).double(),
        )
        for i, label in enumerate(labels)
    ]
    result = score(*samples, topk=(1, k))
    columns = {'output': output[:, 0]}
    columns |= {f'scale_{s + 1}': scales[:, s] for s in range(3)}
    columns |= {'scale_1+2': fused[:, 0], 'scale_1+2+3': fused[:, 1]}
    for name, scores in columns.items():
        for suffix, best in (('', 1), ('_top3', k)):
            expected = 100 * top_k_accuracy_score(labels, scores, k=best)
            assert result[name + suffix] == pytest.approx(expected), name
    assert result['gain_top3'] == pytest.approx(result['scale_1+2+3_top3'] - result['scale_1_top3'])
    assert result['mean_scales'] == 3


def test_ties_fall_to_the_lower_index():
    scores = np.array([[0.2, 0.4, 0.4, 0.0], [0.25, 0.25, 0.25, 0.25]])
    assert [class_ranks(scores, label).tolist() for label in range(4)] == [[2, 0], [0, 1], [1, 2], [3, 3]]


def test_exit_is_at_the_first_that_is_sure_enough():
    confidence = np.array([[0.9, 0.1, 0.1], [0.5, 0.8, 0.9], [0.5, 0.6, 0.2]])
    for threshold, expected in {0.0: [0, 0, 0], 0.6: [0, 1, 1], 0.8: [0, 1, 2], 0.95: [2, 2, 2]}.items():
        assert exit_scales(confidence, threshold).tolist() == expected


COMPLETE = make_sample(1, 1, [0, 1], [1])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(region_names=None), r'model\.with_evidence=True'),
        (dict(regions=None), r'model\.with_evidence=True'),
        (
            dict(fused_scores=None),
            r'has pred_score \(4,\), region_scores \(2, 4\), expected .* fused_scores \(1, 4\)',
        ),
        (
            dict(fused_scores=torch.ones(2, 4)),
            r'fused_scores \(2, 4\), expected .*fused_scores \(1, 4\) for 2 looks',
        ),
        (dict(region_scores=torch.ones(2, 5)), r'region_scores \(2, 5\)'),
        (dict(pred_score=None), r'has region_scores'),
        (dict(pred_score=torch.tensor([0, np.nan, 0, 0])), 'pred_score of a.jpg hold NaN'),
        (dict(gt_label=None), r'one of the 4 classes .* got \[\]'),
        (dict(gt_label=torch.tensor([0, 1])), r'got \[0, 1\]: use a data set of a single label'),
        (dict(gt_label=torch.tensor([4])), r'num_classes'),
    ],
)
def test_refused(change, words):
    sample = {k: v for k, v in (COMPLETE | dict(img_path='a.jpg') | change).items() if v is not None}
    with pytest.raises(UserError, match=words):
        score(sample)


def test_refused_when_built_or_empty():
    with pytest.raises(ValueError, match='topk must be'):
        ScaleAccuracy(topk=(0,))
    with pytest.raises(ValueError, match='nothing to evaluate'):
        ScaleAccuracy().compute_metrics([])

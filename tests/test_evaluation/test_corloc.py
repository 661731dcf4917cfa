"""CorLoc on maps and regions drawn by hand."""

import math

import numpy as np
import pytest
import torch

from mmlattn.evaluation import CorLoc

LEFT, RIGHT, CORNER, WHOLE = (0, 0, 0.5, 1), (0.5, 0, 1, 1), (0.75, 0.75, 1, 1), (0, 0, 1, 1)


def make_sample(evidence, boxes, predicted):
    """One sample; ``boxes`` are (label, xyxy)."""
    return dict(
        ori_shape=(30, 40),
        img_shape=(64, 64),
        scale_factor=(1.6, 64 / 30),
        gt_label=torch.tensor(sorted({label for label, _ in boxes}), dtype=torch.long),
        pred_label=torch.tensor(predicted, dtype=torch.long),
        gt_boxes=np.array([box for _, box in boxes], np.float32).reshape(-1, 4),
        gt_box_labels=np.array([label for label, _ in boxes], np.int64),
        **evidence,
    )


def regions(*boxes):
    """One region for each class, in order."""
    return dict(regions=torch.tensor(boxes, dtype=torch.float32), region_scores=torch.eye(len(boxes)))


def maps(*boxes, cells=4):
    """One map for each class that is even inside the box and nothing outside; None is all zero."""
    drawn = torch.zeros(len(boxes), cells, cells)
    for c, box in enumerate(boxes):
        if box is not None:
            left, top, right, bottom = (round(cells * side) for side in box)
            drawn[c, top:bottom, left:right] = 1 / ((right - left) * (bottom - top))
    return dict(attention_maps=drawn)


def score(*samples, **options):
    metric = CorLoc(**options)
    metric.process(None, samples)
    assert len(metric.results) == len(samples)
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('draw', [regions, maps])
def test_hand_drawn_pairs(draw):
    nothing = None if draw is maps else (0.5, 0, 0.5, 1)
    samples = [
        make_sample(
            draw(LEFT, CORNER), [(0, LEFT), (1, CORNER)], predicted=[0]
        ),  # fits TP; fits, not predicted
        make_sample(
            draw(LEFT, CORNER), [(0, RIGHT), (1, RIGHT)], predicted=[0, 1]
        ),  # beside it TP; too small TP
        make_sample(
            draw(LEFT, nothing), [(0, CORNER), (0, LEFT), (1, LEFT)], predicted=[]
        ),  # 2nd box fits; nothing
        make_sample(draw(WHOLE, WHOLE), [(1, LEFT)], predicted=[1, 0]),  # IoU of 0.5 is enough, TP
        make_sample(draw(WHOLE, WHOLE), [(0, (0, 0, 0, 1))], predicted=[0]),  # no box with an area, no pair
        make_sample(draw(WHOLE, WHOLE), [], predicted=[0]),
    ]
    result = score(*samples)
    assert result == pytest.approx(
        dict(
            true_positives=100 * 2 / 4,
            present=100 * 4 / 7,
            present_class_mean=100 * (2 / 3 + 2 / 4) / 2,
            true_positives_whole_picture=100 * 4 / 4,  # halves of the picture all
            present_whole_picture=100 * 6 / 7,
            true_positive_pairs=4,
            present_pairs=7,
        )
    )


@pytest.mark.parametrize(('iou', 'expected'), [(0.25, 100), (0.5, 100), (0.51, 0)])
def test_overlap_that_is_enough(iou, expected):
    sample = make_sample(regions((0, 0, 0.5, 1)), [(0, (0, 0, 0.25, 1)), (0, CORNER)], predicted=[0])
    assert score(sample, iou=iou)['present'] == expected


@pytest.mark.parametrize(('threshold', 'expected'), [(0.2, 0), (0.5, 0), (0.6, 100)])
def test_threshold_of_maps(threshold, expected):
    evidence = maps(CORNER)
    evidence['attention_maps'][0, 0:2] = 0.5  # larger than the corner, half as bright
    sample = make_sample(evidence, [(0, CORNER)], predicted=[0])
    assert score(sample, threshold=threshold)['present'] == expected


@pytest.mark.parametrize('value', [0, 1.1, float('nan')])
@pytest.mark.parametrize('name', ['iou', 'threshold'])
def test_bad_options(name, value):
    with pytest.raises(ValueError, match=f'{name} must be above 0 and at most 1'):
        CorLoc(**{name: value})


def test_no_pair_is_nan_and_no_sample_an_error():
    assert math.isnan(score(make_sample(maps(LEFT), [], predicted=[0]))['present'])
    with pytest.raises(ValueError, match='nothing to evaluate'):
        CorLoc().compute_metrics([])

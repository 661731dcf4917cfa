"""Peaks and boxes drawn by hand, and the pipelines that would falsify them."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS
from mmpretrain.structures import DataSample

from mmlattn.evaluation import PointingGame
from mmlattn.structures.frames import check_frame


def make_sample(peaks, boxes, predicted, shape=(4, 4)):
    """A sample whose map of class c peaks at cell ``peaks[c]`` (None: all zero), with one box for each class."""
    maps = torch.zeros(len(peaks), *shape)
    for c, peak in enumerate(peaks):
        if peak is not None:
            maps[c, peak[0], peak[1]] = 1.0
    sample = DataSample(metainfo=dict(ori_shape=(30, 40), img_shape=(64, 64), scale_factor=(1.6, 64 / 30)))
    sample.set_gt_label(sorted({label for label, _ in boxes})).set_pred_label(predicted)
    sample.set_field(maps, 'attention_maps')
    sample.set_field(np.array([box for _, box in boxes], np.float32).reshape(-1, 4), 'gt_boxes')
    sample.set_field(np.array([label for label, _ in boxes], np.int64), 'gt_box_labels')
    return sample.to_dict()


def score(*samples, **options):
    metric = PointingGame(**options)
    metric.process(None, samples)
    assert len(metric.results) == len(samples)
    return metric.compute_metrics(metric.results)


def test_hand_drawn_pairs():
    left, corner = (0, 0, 0.5, 1), (0.75, 0.75, 1, 1)  # 8 and 1 of 16 cells
    samples = [
        make_sample([(0, 1), (3, 3)], [(0, left), (1, corner)], predicted=[0]),  # hit TP; hit, not predicted
        make_sample(
            [(0, 2), None], [(0, left), (1, corner)], predicted=[0, 1]
        ),  # miss TP; miss TP (zero map)
        make_sample(
            [(0, 2), (0, 0)], [(0, corner), (0, (0.5, 0, 0.75, 0.25))], predicted=[1]
        ),  # second box: hit
        make_sample([(0, 0), (0, 0)], [], predicted=[0]),  # an image without any box
    ]
    result = score(*samples)
    assert result['true_positives'] == pytest.approx(100 / 3)
    assert result['present'] == pytest.approx(100 * 3 / 5)
    assert result['present_class_mean'] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    assert result['true_positives_chance'] == pytest.approx(100 * (8 + 8 + 1) / 16 / 3)
    assert result['present_chance'] == pytest.approx(100 * (8 + 1 + 8 + 1 + 2) / 16 / 5)
    assert (result['true_positive_pairs'], result['present_pairs']) == (3, 5)


def test_regions_point_with_their_centre():
    sample = make_sample(
        [(0, 0)] * 3, [(0, (0, 0, 0.5, 1)), (1, (0.75, 0, 1, 1)), (2, (0, 0, 1, 1))], predicted=[1]
    )
    del sample['attention_maps']
    sample['regions'] = torch.tensor([(0, 0, 0.5, 0.5), (0.5, 0, 0.75, 1), (1, 0, 1, 1)])
    sample['region_scores'] = torch.tensor([(0.5, 0.1, 0.3), (0.5, 0.2, 0.2), (0, 0, 0.4)])
    result = score(sample)  # the first of equals: hit; centre at 0.625: miss; a region without an area: miss
    assert result['present'] == pytest.approx(100 / 3) and result['true_positives'] == 0
    assert result['present_chance'] == pytest.approx(100 * (0.5 + 0.25 + 1) / 3)
    assert result['true_positives_chance'] == pytest.approx(25)
    near = score(sample, tolerance=5)  # an eighth of 40 pixels: the strip beside the box
    assert near['true_positives'] == 100 and near['true_positives_chance'] == pytest.approx(37.5, abs=1)


@pytest.mark.parametrize(
    ('box', 'distance'),
    [
        ((0, 0, 0.5, 0.5), 5),  # of a picture of 40 x 30 pixels; the peak is at (25, 3.75)
        ((0, 0.25, 1, 1), 3.75),
        ((0, 0.525, 0.325, 1), (12**2 + 12**2) ** 0.5),  # a corner at (13, 15.75): a circle, no grown box
    ],
)
def test_tolerance_is_a_distance_in_pixels_of_the_original(box, distance):
    """As in the authors' ``eval_coco.py`` (Caffe-ExcitationBP): a circle round the peak touches the object or not."""
    sample = make_sample([(0, 2)], [(0, box)], predicted=[0])
    for tolerance, expected in ((0, 0), (distance - 0.01, 0), (distance + 0.01, 100)):
        assert score(sample, tolerance=tolerance)['present'] == expected


def test_chance_with_a_tolerance_counts_points_near_a_box():
    """A box of 4 x 4 pixels in the centre of 40 x 30: itself, four strips and a circle in pieces."""
    box = (0.45, 13 / 30, 0.55, 17 / 30)
    sample = make_sample([(0, 0)], [(0, box)], predicted=[0])
    del sample['attention_maps']
    sample |= dict(regions=torch.tensor([[0, 0, 1.0, 1]]), region_scores=torch.ones(1, 1))
    expected = (4 * 4 + 4 * 4 * 10 + np.pi * 10**2) / (40 * 30)
    assert score(sample, tolerance=10)['present_chance'] == pytest.approx(100 * expected, abs=1)


@pytest.mark.parametrize(
    'nothing', [(0.1, 0.1, 0.1, 0.9), (0.1, 0.125, 0.9, 0.125), (1, 0, 1, 1), (0.9, 0, 0.1, 1)]
)
def test_boxes_without_area_are_no_targets(nothing):
    sample = make_sample([(0, 0)], [(0, nothing)], predicted=[0])  # the second border holds a row's centres
    assert score(sample, tolerance=0.5)['present_pairs'] == 0
    sample = make_sample([(0, 0)], [(0, nothing), (0, (0.5, 0, 1, 1))], predicted=[0])
    result = score(sample)
    assert (result['present_pairs'], result['present'], result['present_chance']) == (1, 0, 50)


def test_nothing_to_evaluate():
    with pytest.raises(ValueError, match='nothing to evaluate'):
        PointingGame().compute_metrics([])


@pytest.mark.parametrize('tolerance', [-0.1, float('nan')])
def test_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match='tolerance must be a finite number of 0 or more'):
        PointingGame(tolerance)


def test_no_pair_is_nan():
    assert np.isnan(score(make_sample([(0, 0)], [], predicted=[0]))['present'])


@pytest.mark.parametrize(
    ('name', 'words'),
    [('attention_maps', 'with_evidence=True'), ('gt_boxes', 'algorithm_keys'), ('ori_shape', 'meta_keys')],
)
def test_missing_field_says_what_to_set(name, words):
    sample = make_sample([(0, 0)], [(0, (0, 0, 1, 1))], predicted=[0])
    del sample[name]
    with pytest.raises(ValueError, match=words):
        score(sample)


RESIZE = dict(type='Resize', scale=(48, 48), keep_ratio=False, backend='pillow')
PIPELINES = [
    ([], None),
    ([RESIZE], None),
    ([dict(type='ResizeEdge', scale=37, edge='short')], None),
    ([dict(type='RandomFlip', prob=1.0), RESIZE], 'flipped'),
    ([dict(type='ResizeEdge', scale=48, edge='short'), dict(type='CenterCrop', crop_size=48)], 'crops'),
    ([dict(type='RandomResizedCrop', scale=48)], 'crops'),
]


@pytest.mark.parametrize(('transforms', 'words'), PIPELINES)
def test_frame_of_real_pipelines(transforms, words, coco_root):
    steps = [dict(type='LoadImageFromFile'), *transforms, dict(type='PackInputs')]
    pipeline = Compose([TRANSFORMS.build(dict(step, type=f'mmpretrain.{step["type"]}')) for step in steps])
    for path in sorted((coco_root / 'train2017').iterdir())[:6]:
        sample = pipeline(dict(img_path=str(path)))['data_samples'].to_dict()
        if words is None:
            check_frame(sample)
        else:
            with pytest.raises(ValueError, match=words):
                check_frame(sample)

"""Regions against true boxes: by hand, against torchvision, and through the real transforms."""

import json
import multiprocessing

import numpy as np
import pytest
import torch
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from torch import distributed as dist
from torchvision.ops import box_iou

from mmlattn.evaluation import RegionQuality, ScaleAccuracy
from mmlattn.evaluation.functional.localization import boxes_in_center_crop, region_overlaps
from mmlattn.utils.errors import UserError

WHOLE, LEFT, CORNER = (0, 0, 1, 1), (0, 0, 0.5, 1), (0.75, 0.75, 1, 1)


def make_sample(regions, boxes, labels=None, **fields):
    """A picture of class 0 that was looked at in ``regions`` after the whole."""
    sample = dict(
        ori_shape=(30, 40),
        img_shape=(60, 80),
        scale_factor=(2.0, 2.0),
        gt_label=torch.tensor([0]),
        pred_label=torch.tensor([1]),
        pred_score=torch.tensor([0.1, 0.9]),
        regions=torch.tensor([WHOLE, *regions], dtype=torch.float32),
        region_names=tuple(f'scale {k + 1}' for k in range(len(regions) + 1)),
        region_scores=torch.tensor([[0.6, 0.4]]).repeat(len(regions) + 1, 1),
        fused_scores=torch.tensor([[0.4, 0.6]]).repeat(len(regions), 1),
        gt_boxes=np.array(boxes, np.float32).reshape(-1, 4),
        gt_box_labels=np.array(labels or [0] * len(boxes), np.int64),
    )
    return sample | fields


def score(*samples, **options):
    metric = RegionQuality(**options)
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def test_by_hand():
    result = score(
        make_sample([LEFT, CORNER], [LEFT]),  # a fit, then beside it
        make_sample([CORNER], [WHOLE, (0.5, 0.5, 1, 1)]),  # a quarter of the second box; one scale only
        make_sample([LEFT, WHOLE], [CORNER, LEFT], [0, 1]),  # the second box is of another class
        make_sample([LEFT, WHOLE], [LEFT], [1]),  # none of the true class: not judged
        make_sample([LEFT, LEFT], [(0, 0, 0, 1)]),  # nor is what has no area
    )
    expected = {
        'scale_2_iou': (1 + 1 / 4 + 0) / 3,
        'scale_2_pcp': 1 / 3,
        'scale_2_covered': (1 + 1 / 4 + 0) / 3,
        'scale_2_contained': 1 / 3,
        'scale_2_side': (3 / 4 + 1 / 4 + 3 / 4) / 3,
        'scale_3_iou': (0 + 1 / 16) / 2,
        'scale_3_pcp': 0,
        'scale_3_covered': 1 / 2,
        'scale_3_contained': 1 / 2,
        'scale_3_side': (1 / 4 + 1) / 2,
        'whole_picture_iou': (1 / 2 + 1 + 1 / 16) / 3,
        'whole_picture_pcp': 2 / 3,
        'whole_picture_covered': 1,
        'whole_picture_contained': 1,
        'whole_picture_side': 1,
        # With the left half 1/8 in common of 5/8, a quarter of it; with the second picture's whole 1/4, with its
        # quarter of the picture a quarter; with the corner nothing.
        'centre_half_iou': (1 / 5 + 1 / 4 + 0) / 3,
        'centre_half_pcp': 0,
        'centre_half_covered': (1 / 4 + 1 / 4 + 0) / 3,
        'centre_half_contained': 0,
        'centre_half_side': 1 / 2,
    }
    counts = dict(scale_2_pictures=3, scale_3_pictures=2, pictures=3, boxes_left_out=0)
    assert result == pytest.approx({name: 100 * value for name, value in expected.items()} | counts)


def test_overlaps_are_torchvisions_and_counts_of_cells():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 21, (12, 2, 2)), axis=1)
    corners[:, 1] += 1  # with an area
    boxes = corners.reshape(-1, 4) / 22
    regions, boxes = boxes[:7], boxes[7:]
    iou, covered = region_overlaps(regions.astype(np.float32), boxes)
    pairs = box_iou(torch.from_numpy(regions), torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(iou, pairs.max(axis=1), rtol=1e-6)

    def cells(box):
        drawn = np.zeros((22, 22), bool)
        left, top, right, bottom = np.rint(box * 22).astype(int)
        drawn[top:bottom, left:right] = True
        return drawn

    counted = [max((cells(r) & cells(b)).sum() / cells(b).sum() for b in boxes) for r in regions]
    np.testing.assert_allclose(covered, counted, atol=1e-6)
    assert min(covered) == 0 < max(covered) < 1


@pytest.mark.parametrize('shape', [(301, 500), (375, 500), (500, 333), (97, 97), (123, 457), (224, 230)])
@pytest.mark.parametrize(('edge', 'crop'), [(128, 112), (127, 112), (128, 113), (64, (40, 57)), (100, 120)])
def test_boxes_follow_the_real_transforms(shape, edge, crop):
    """A picture whose pixels are their own coordinates tells where each edge of a box went."""
    height, width = shape
    y, x = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing='ij')
    results = dict(img=np.stack([x, y, x], axis=-1).astype(np.float32), img_shape=shape, ori_shape=shape)
    for transform in (dict(type='ResizeEdge', scale=edge), dict(type='CenterCrop', crop_size=crop)):
        results = TRANSFORMS.build(transform)(results)
    shown, metas = results.pop('img'), results
    seen_x, seen_y = shown[shown.shape[0] // 2, :, 0] / width, shown[:, shown.shape[1] // 2, 1] / height
    # The centres of the second and the last but one pixel, which no border has touched.
    box = np.array([[seen_x[1], seen_y[1], seen_x[-2], seen_y[-2]]])
    high, wide = shown.shape[:2]
    expected = np.array([1.5 / wide, 1.5 / high, 1 - 1.5 / wide, 1 - 1.5 / high])
    resized = tuple(np.rint(np.array(shape) * np.array(metas['scale_factor'])[::-1]).astype(int))
    moved, left = boxes_in_center_crop(box, resized, metas['img_shape'])
    np.testing.assert_allclose(moved[0], expected, atol=2e-3 / min(high, wide))
    assert left == pytest.approx([1])
    # The metric comes to the same from the metas alone, as PackInputs hands them over.
    sample = make_sample([tuple(expected)], box)
    sample |= {name: metas[name] for name in ('ori_shape', 'img_shape', 'scale_factor')}
    packed = DataSample(
        metainfo={name: sample.pop(name) for name in ('ori_shape', 'img_shape', 'scale_factor')}
    )
    assert score(sample | packed.to_dict(), center_crop=True)['scale_2_iou'] == pytest.approx(100, abs=0.1)


def test_boxes_outside_the_crop_are_left_out():
    crop = dict(ori_shape=(100, 200), img_shape=(100, 100), scale_factor=(1.0, 1.0))  # from x = 50 to 150
    halves, nine, eleven = (0.2, 0, 0.3, 1), (0.159, 0, 0.259, 1), (0.161, 0, 0.261, 1)  # of x = 40 to 60 ...
    result = score(
        make_sample([(0, 0, 0.1, 1)], [halves], **crop),
        make_sample([WHOLE], [nine], **crop),
        make_sample([WHOLE], [eleven, (0, 0, 0.1, 1)], **crop),
        center_crop=True,
    )
    assert (result['pictures'], result['boxes_left_out']) == (2, 2)
    assert result['scale_2_iou'] == pytest.approx((100 + 2.2) / 2, abs=1e-3)
    assert result['whole_picture_covered'] == pytest.approx(100)  # of what is left


def test_limits_count_as_reached():
    """Nine tenths of a box hold it, three quarters do not; a tenth of a box in the crop keeps it."""
    nine, most = (0, 0, 9 / 16, 1), (0, 0, 3 / 4, 1)
    result = score(make_sample([nine, nine], [(0, 0, 10 / 16, 1)]), make_sample([most, WHOLE], [WHOLE]))
    assert (result['scale_2_contained'], result['scale_3_contained']) == (50, 100)
    crop = dict(ori_shape=(128, 256), img_shape=(128, 128), scale_factor=(1.0, 1.0))  # from x = 64 to 192
    tenth = make_sample([WHOLE], [(55 / 256, 0, 65 / 256, 1)], **crop)
    assert score(tenth, center_crop=True)['boxes_left_out'] == 0


@pytest.mark.parametrize('center_crop', [False, True])
def test_frame_without_a_crop(center_crop):
    sample = make_sample([LEFT], [LEFT], ori_shape=(31, 41), scale_factor=(80 / 41, 60 / 31))
    assert score(sample, center_crop=center_crop)['scale_2_iou'] == pytest.approx(100)


@pytest.mark.parametrize(
    ('options', 'change', 'words'),
    [
        ({}, dict(region_names=None), r'model\.with_evidence=True'),
        ({}, dict(gt_boxes=None), 'lack gt_boxes: use a data set with boxes'),
        ({}, dict(img_shape=(60, 60)), r'\(60, 60\) of \(60, 80\) pixels are shown: set center_crop=True'),
        ({}, dict(flip=True), 'was flipped'),
        ({}, dict(img_shape=(60, 90)), 'crops, pads or resizes twice'),
        ({}, dict(ori_shape=None), 'ori_shape and img_shape are needed'),
        ({}, dict(regions=torch.full((2, 4), torch.nan)), 'has the model diverged'),
        (dict(center_crop=True), dict(ori_shape=None), 'ori_shape and img_shape are needed'),
        (dict(center_crop=True), dict(flip=True, img_shape=(60, 60)), 'was flipped'),
        (dict(center_crop=True), dict(img_shape=(90, 60)), 'pads'),
        ({}, dict(gt_box_labels=np.array([7])), 'no picture has a box of its true class'),
    ],
)
def test_refused(options, change, words):
    sample = make_sample([LEFT], [LEFT]) | change
    with pytest.raises(UserError, match=words):
        score({name: value for name, value in sample.items() if value is not None}, **options)


def make_samples():
    """Five pictures with one to three looks."""
    rng = np.random.default_rng(1)
    return [
        make_sample(
            np.concatenate([low := rng.uniform(0, 0.5, (looks, 2)), low + 0.4], axis=1).tolist(),
            [(0.1, 0.1, 0.7, 0.6)],
            gt_label=torch.tensor([0]),
            region_scores=torch.from_numpy(rng.random((looks + 1, 2))),
            fused_scores=torch.from_numpy(rng.random((looks, 2))),
        )
        for looks in (2, 0, 1, 2, 2)
    ]


def evaluate_share(rank, folder):
    """One of two processes, with the pictures that a sampler would give it: the last one is the first again."""
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    (folder / f'{rank}.json').write_text(json.dumps(evaluate([(0, 2, 4), (1, 3, 0)][rank])))
    dist.destroy_process_group()


def evaluate(indices):
    samples, results = make_samples(), []
    for metric in (ScaleAccuracy(), RegionQuality()):
        metric.process(None, [samples[i] for i in indices])
        results.append(metric.evaluate(len(samples)))
    return results


@pytest.mark.dist
def test_two_processes_agree_with_one(tmp_path, monkeypatch):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    monkeypatch.chdir(tmp_path)
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=evaluate_share, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    expected = evaluate(range(5))
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)] == [expected] * 2
    assert expected[0]['scales/scale_3_pictures'] == 3 and expected[1]['regions/scale_2_pictures'] == 4

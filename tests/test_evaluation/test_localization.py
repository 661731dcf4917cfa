"""Points and boxes of evidence against scipy, pixel counts and drawings by hand; which evidence is read."""

import json
import multiprocessing
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
from scipy import ndimage

from mmlattn.evaluation import CorLoc, PointingGame
from mmlattn.evaluation.functional.localization import (
    SeenInMaps,
    SeenInRegions,
    covered_share,
    map_box,
    region_overlaps,
    seen_in,
)
from mmlattn.structures.evidence import read_places
from mmlattn.structures.frames import check_frame
from mmlattn.utils.errors import UserError


def test_map_box_is_that_of_scipys_largest_component():
    rng = np.random.default_rng(0)
    for _ in range(300):
        height, width = rng.integers(1, 9, 2)
        drawn = rng.choice([0, 1, 2, 4, 8], (height, width), p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.float32)
        threshold = rng.choice([0.125, 0.25, 0.5, 1.0])
        if not drawn.any():
            assert map_box(drawn, threshold) is None
            continue
        components, count = ndimage.label(drawn >= threshold * drawn.max(), np.ones((3, 3)))
        boxes = {}
        for i, (rows, columns) in enumerate(ndimage.find_objects(components), start=1):
            inside = components == i
            edges = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
            boxes.setdefault((inside.sum(), drawn[inside].sum()), []).append(edges)
        assert sum(map(len, boxes.values())) == count
        assert tuple(map_box(drawn, threshold)) in boxes[max(boxes)]


@pytest.mark.parametrize(
    ('rows', 'threshold', 'expected'),
    [
        (['9900', '0000', '0004', '0044'], 0.2, (0.5, 0.5, 1, 1)),  # the larger one, not the brighter
        (['9900', '0000', '0004', '0044'], 0.5, (0, 0, 0.5, 0.25)),
        (['5000', '0500', '0010', '0000'], 0.2, (0, 0, 0.75, 0.75)),  # corners join; the last just reaches it
        (['5000', '0500', '0010', '0000'], 0.25, (0, 0, 0.5, 0.5)),
        (['4300', '0000', '0000', '0034'], 1.0, (0, 0, 0.25, 0.25)),  # equal in size and mass: the upper one
        (['4300', '0000', '0000', '0054'], 0.2, (0.5, 0.75, 1, 1)),  # equal in size: more mass
    ],
)
def test_map_box_by_hand(rows, threshold, expected):
    drawn = np.array([list(map(int, row)) for row in rows], np.float32) / 8
    np.testing.assert_array_equal(map_box(drawn, threshold), expected)


def on_grid(box, side):
    """Cells of a grid that a box with corners on it covers."""
    mask = np.zeros((side, side), bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = True
    return mask


def test_overlap_and_cover_are_counts_of_cells():
    rng, side = np.random.default_rng(1), 16
    for _ in range(100):
        corners = np.array([np.sort(rng.choice(side + 1, 2, replace=False)) for _ in range(8)]).reshape(
            4, 2, 2
        )
        boxes = corners.transpose(0, 2, 1).reshape(4, 4)
        one, *others = (on_grid(box, side) for box in boxes)
        expected = max((one & other).sum() / (one | other).sum() for other in others)
        assert region_overlaps(boxes[:1] / side, boxes[1:] / side)[0][0] == pytest.approx(expected)
        assert covered_share(boxes / side) == pytest.approx(np.logical_or.reduce([one, *others]).mean())


def test_class_is_seen_in_the_first_best_region_that_has_an_area():
    regions = np.array([(0, 0, 1, 1), (0.25, 0, 0.75, 0.5), (0.5, 0, 0.5, 1)], np.float32)
    scores = np.array([(1, 0, 0, 5), (1, 2, 0, 6), (0, 2, 3, 7)], np.float32)
    seen = SeenInRegions(regions, scores[:, :3])
    assert [seen.box(c) is not None for c in range(3)] == [True, True, False]
    np.testing.assert_array_equal(seen.box(0), (0, 0, 1, 1))
    np.testing.assert_array_equal(seen.point(1), (0.5, 0.25))
    assert seen.point(2) is None


def make_sample(**fields):
    """One present and predicted class with a box in the right half of a picture."""
    fields.setdefault('gt_boxes', np.array([(0.5, 0, 1, 1)], np.float32))
    return dict(
        ori_shape=(30, 40),
        img_shape=(30, 40),
        gt_label=torch.tensor([0]),
        pred_label=torch.tensor([0]),
        gt_box_labels=np.array([0]),
        **fields,
    )


MAPS = torch.tensor([[[0.0, 1.0]]])
REGIONS = dict(regions=torch.tensor([[0, 0, 0.5, 1]]), region_scores=torch.ones(1, 1))


def test_evidence_is_found_or_chosen():
    both = make_sample(attention_maps=MAPS, **REGIONS)
    assert isinstance(seen_in(read_places(make_sample(attention_maps=MAPS))), SeenInMaps)
    assert isinstance(seen_in(read_places(make_sample(**REGIONS))), SeenInRegions)
    for kind, expected in dict(attention_maps=100, regions=0).items():
        for metric in (PointingGame(evidence=kind), CorLoc(evidence=kind)):
            metric.process(None, [both])
            assert metric.compute_metrics(metric.results)['present'] == expected


@pytest.mark.parametrize(
    ('fields', 'evidence', 'words'),
    [
        (
            dict(attention_maps=MAPS, **REGIONS),
            'auto',
            r"choose with evidence='attention_maps' or evidence=",
        ),
        ({}, 'auto', r'no attention_maps or regions .*model\.head\.with_evidence=True'),
        (REGIONS, 'attention_maps', r'no attention_maps but regions: .*with_evidence=True'),
        (dict(attention_maps=MAPS), 'regions', r'no regions but attention_maps: .*with_evidence=True'),
        (dict(regions=REGIONS['regions']), 'auto', 'regions without region_scores'),
        (dict(attention_maps=MAPS * float('nan')), 'auto', 'attention_maps of a sample hold NaN'),
        (dict(REGIONS, regions=REGIONS['regions'] / 0), 'auto', 'regions of a sample hold NaN or infinity'),
        (REGIONS | dict(region_scores=torch.ones(3, 1)), 'auto', r'\(3, 1\), .* region_scores \(1, 1\)'),
        (REGIONS | dict(region_scores=torch.ones(1, 0)), 'auto', r'\(1, 0\), .* \(1, 1\) for the 1 classes'),
        (REGIONS | dict(pred_score=torch.ones(2)), 'auto', r'\(1, 1\), .* \(1, 2\) for the 2 classes'),
        (REGIONS | dict(regions=torch.ones(1, 5)), 'auto', r'regions \(1, 5\), .* expected regions \(1, 4\)'),
        (
            dict(regions=torch.ones(0, 4), region_scores=torch.ones(0, 1)),
            'auto',
            r'regions \(0, 4\), .* expected regions \(1, 4\)',
        ),
        (dict(attention_maps=MAPS[:0]), 'auto', r'maps \(0, 1, 2\), expected attention_maps \(1, 1, 2\)'),
        (dict(attention_maps=MAPS[..., :0]), 'auto', r'\(1, 1, 0\), expected attention_maps \(1, 1, 1\)'),
        (dict(attention_maps=MAPS[0]), 'auto', r'maps \(1, 2\), expected attention_maps \(1, 2, 1\)'),
    ],
)
@pytest.mark.parametrize('metric', [PointingGame, CorLoc])
def test_evidence_that_cannot_be_read(metric, fields, evidence, words):
    with pytest.raises(UserError, match=words):
        metric(evidence=evidence).process(None, [make_sample(**fields)])


@pytest.mark.parametrize('metric', [PointingGame, CorLoc])
def test_unknown_evidence(metric):
    with pytest.raises(
        ValueError, match=r"evidence must be one of 'auto', 'attention_maps', 'regions', got 'boxes'"
    ):
        metric(evidence='boxes')


@pytest.mark.parametrize('change', [dict(flip=True), dict(img_shape=(20, 40)), dict(ori_shape=None)])
def test_refusals_of_the_frame_name_no_metric(change):
    sample = {k: v for k, v in {**make_sample(), **change}.items() if v is not None}
    with pytest.raises(UserError) as error:
        check_frame(sample)
    assert 'Pointing' not in str(error.value)
    with pytest.raises(UserError):
        CorLoc().process(None, [dict(sample, attention_maps=MAPS)])


def make_samples():
    """Five images with zero to two pairs each."""
    rng = np.random.default_rng(3)
    samples = []
    for number, sharpness in ((1, 1), (2, 30), (0, 1), (1, 30), (2, 1)):
        labels = np.arange(number)
        samples.append(
            dict(
                make_sample(gt_boxes=np.tile(np.array([0.25, 0.25, 1, 1], np.float32), (number, 1))),
                gt_label=torch.from_numpy(labels),
                gt_box_labels=labels,
                attention_maps=torch.from_numpy(rng.random((2, 4, 4)) ** sharpness),
            )
        )
    return samples


def metrics():
    return [PointingGame(), CorLoc()]


def evaluate_share(rank, folder):
    """One of two processes, with the images that a sampler would give it: the last one is the first again."""
    os.chdir(folder)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    samples = make_samples()
    results = []
    for metric in metrics():
        metric.process(None, [samples[i] for i in ((0, 2, 4), (1, 3, 0))[rank]])
        results.append(metric.evaluate(len(samples)))
    (folder / f'{rank}.json').write_text(json.dumps(results))
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_processes_agree_with_one(tmp_path):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    context = multiprocessing.get_context('fork')
    processes = [context.Process(target=evaluate_share, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    expected = []
    for metric in metrics():
        metric.process(None, make_samples())
        expected.append(metric.evaluate(5))
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)] == [expected] * 2
    assert expected[0]['pointing/present_pairs'] == 6
    assert 0 < expected[0]['pointing/present'] < 100 and 0 < expected[1]['corloc/present'] < 100

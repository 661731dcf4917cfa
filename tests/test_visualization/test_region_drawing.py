"""Regions on pictures: which are drawn, what their tags say, and that every tag can be read."""

import itertools
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from mmpretrain.structures import DataSample

from mmlattn.engine import EvidenceVisualizationHook
from mmlattn.structures import set_regions
from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.layout import spotlight
from mmlattn.visualization.marks import place_tags
from mmlattn.visualization.panels import MAX_REGIONS, sample_panels

CLASSES = ('cat', 'dog', 'bird')
QUARTERS = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]


def make_sample(regions=QUARTERS, scores=None):
    """Cat predicted and true, dog predicted only, bird true only."""
    sample = DataSample().set_gt_label([0, 2]).set_pred_score(torch.tensor([0.7, 0.9, 0.2]))
    sample.set_pred_label([0, 1])
    sample.set_field(np.array([[0.5, 0.25, 0.75, 0.5]], np.float32), 'gt_boxes')
    sample.set_field(np.array([0]), 'gt_box_labels')
    set_regions([sample], torch.tensor([regions]), None if scores is None else torch.tensor([scores]))
    return sample


SCORES = [[0.1, 0.9, 0.2], [0.7, 0.1, 0.2], [0.7, 0.9, 0.1], [0.0, 0.0, 0.0]]


def test_each_class_is_shown_in_the_first_region_with_its_highest_score():
    picture, overview, dog, cat, bird = sample_panels(make_sample(scores=SCORES), CLASSES)
    assert overview.title == '4 regions, in order' and len(picture.boxes) == 1 and not picture.regions
    assert [r.number for r in overview.regions] == [1, 2, 3, 4]
    assert [r.names for r in overview.regions] == [('dog', 'bird'), ('cat',), (), ()]
    assert [p.title for p in (dog, cat, bird)] == ['dog  0.90', 'cat  0.70', 'bird  0.20']
    assert [(p.regions[0].number, p.lit.tolist()) for p in (dog, cat, bird)] == [
        (1, QUARTERS[0]), (2, QUARTERS[1]), (1, QUARTERS[0]),
    ]  # fmt: skip
    assert [len(p.boxes) for p in (dog, cat, bird)] == [0, 1, 0], 'true boxes of the class itself'
    assert len({r.style for r in overview.regions}) == 4


def test_without_scores_there_are_numbers_only():
    _, labels, overview = sample_panels(make_sample(), CLASSES)
    assert labels.title == 'labels' and len(labels.lines) == 3
    assert [r.names for r in overview.regions] == [()] * 4
    many = sample_panels(make_sample(QUARTERS * 5), CLASSES)[-1]
    assert many.title == f'first {MAX_REGIONS} of 20 regions' and len(many.regions) == MAX_REGIONS


def test_of_many_regions_those_are_drawn_that_were_read():
    scores = torch.zeros(50, 3)
    scores[7, 1] = scores[41, 0] = 0.5
    regions = (QUARTERS * 13)[:50]
    _, overview, dog, cat, rest = sample_panels(make_sample(regions, scores.tolist()), CLASSES, max_classes=2)
    assert overview.title == '2 of 50 regions read' and rest.title == '1 more'
    assert [(r.number, r.names) for r in overview.regions] == [(8, ('dog',)), (42, ('cat',))]
    assert dog.regions[0].number == 8 and cat.regions[0].style == overview.regions[1].style


def test_regions_that_cannot_be_drawn_are_counted_in_the_caption():
    """Dog and bird were read from the first one: they are listed instead."""
    sample = make_sample(scores=SCORES)
    sample.regions[0, 2] = float('nan')
    _, overview, cat, rest = sample_panels(sample, CLASSES)
    assert overview.title == '1 of 4 regions not finite' and [r.number for r in overview.regions] == [2, 3, 4]
    assert (cat.title, rest.title) == ('cat  0.70', '2 more')
    sample.regions[:] = float('inf')
    empty = DataSample(metainfo=dict(sample.metainfo_items()), **dict(sample.items()))
    empty.set_field(torch.zeros(0, 4), 'regions')
    empty.set_field(torch.zeros(0, 3), 'region_scores')
    for drawn, title in ((sample, '4 of 4 regions not finite'), (empty, 'no regions')):
        _, labels, overview = sample_panels(drawn, CLASSES)
        assert overview.title == title and not overview.regions and len(labels.lines) == 3
        EvidenceVisualizer('lost').draw_sheet([np.zeros((30, 40, 3), np.uint8)], [drawn], CLASSES)


def test_regions_stand_beside_attention_maps():
    sample = make_sample(scores=SCORES)
    sample.set_field(torch.ones(3, 2, 2) / 4, 'attention_maps')
    titles = [panel.title for panel in sample_panels(sample, CLASSES)]
    classes = ['dog  0.90', 'cat  0.70', 'bird  0.20']
    assert titles[1:] == [*(f'{name}  ×1.0' for name in classes), '4 regions, in order', *classes]


def areas(corners, sizes):
    return np.concatenate([corners, corners + sizes], axis=1)


@pytest.mark.parametrize(
    'boxes',
    [
        [[60, 60, 140, 140]] * 9,
        [[0, 0, 200, 100]] * 5,
        [[199, 0, 200, 2], [0, 149, 1, 150], [0, 0, 0, 0], [200, 150, 200, 150]],
        [[20 * i, 10 * i, 20 * i + 40, 10 * i + 40] for i in range(8)],
    ],
    ids=['equal', 'on the border', 'no area', 'a row'],
)
def test_tags_do_not_cover_each_other_nor_leave_the_picture(boxes):
    boxes, frame = np.array(boxes, float), (200, 150)
    sizes = np.array([[12 + 10 * (i % 3), 16] for i in range(len(boxes))], float)
    tags = areas(place_tags(boxes, sizes, frame), sizes)
    assert (tags >= 0).all() and (tags[:, 2:] <= frame).all()
    for a, b in itertools.combinations(tags, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_tags_stand_at_the_left_top_in_large_boxes_and_above_small_ones():
    boxes = np.array([[50, 40, 150, 140], [20, 60, 30, 70]], float)
    places = place_tags(boxes, np.array([[20.0, 16], [12, 16]]), (200, 150))
    assert places.tolist() == [[50, 40], [20, 44]]


def test_spotlight_keeps_colours_inside_only():
    picture = np.full((10, 20, 3), (30, 60, 90), np.uint8)
    lit = spotlight(picture, np.array([0.5, 0, 1, 0.5]))
    assert (lit[:5, 10:] == picture[:5, 10:]).all()
    assert (lit[5:] == 27).all() and (lit[:, :10] == 27).all()


@pytest.mark.parametrize('cell', [80, 200])
@pytest.mark.parametrize('shape', [(40, 120, 3), (90, 30, 3)])
def test_numbers_are_drawn_whole_and_apart(cell, shape):
    """On the canvas itself: letters inside their tags, tags inside the cell and apart, names where there is room."""
    drawer = EvidenceVisualizer(f'tags{cell}{shape}', cell_size=cell)
    close = [[0.3 + 0.01 * i, 0.3, 0.7, 0.7] for i in range(9)]
    scores = torch.eye(9, 3).tolist()
    classes = ('cat', 'hippopotamus amphibius of the Nile', 'bird')
    drawer.visualize_cls(np.full(shape, 128, np.uint8), make_sample(close, scores), classes)
    boxes = [p.get_window_extent() for p in drawer.ax_save.patches if p.get_zorder() == 3]
    written = [t for t in drawer.ax_save.texts if t.get_zorder() == 4]
    labels = [t.get_text() for t in written]
    assert len(boxes) == len(written) == 9 + 3 + 1, 'overview, three classes, legend'
    assert [label.split(':')[0] for label in labels[:9]] == [str(i + 1) for i in range(9)]
    assert any(label.endswith('…') for label in labels) == (cell == 200 and shape[0] < shape[1])
    letters = [text.get_window_extent() for text in written]
    for box, text in zip(boxes, letters, strict=True):
        assert box.x0 <= text.x0 and text.x1 <= box.x1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(letters[:9], 2))
    assert all(
        box.x0 >= 0 and box.x1 <= drawer.width and box.y0 >= 0 and box.y1 <= drawer.height for box in boxes
    )


def test_legend_explains_and_fits(tmp_path):
    drawer = EvidenceVisualizer('legend', cell_size=80)
    drawer.visualize_cls(np.zeros((50, 50, 3), np.uint8), make_sample(scores=SCORES), CLASSES)
    said = ' '.join(text.get_text() for text in drawer.ax_save.texts)
    assert 'dashed' not in said
    for text in ('region, numbered in order: classes read from it', 'where a class was read', 'true box'):
        assert text in said
    for text in drawer.ax_save.texts:
        extent = text.get_window_extent()
        assert extent.y0 >= 0 and extent.x1 <= drawer.width, text.get_text()


def test_outlines_of_a_colour_that_comes_again_are_explained():
    drawer = EvidenceVisualizer('again', cell_size=200)
    row = [[0.1 * k, 0.1, 0.1 * k + 0.1, 0.9] for k in range(8)]
    drawer.visualize_cls(np.zeros((50, 50, 3), np.uint8), make_sample(row), CLASSES)
    boxes = [p for p in drawer.ax_save.patches if isinstance(p, Rectangle) and not p.get_fill()]
    colored = [p for p in boxes if to_hex(p.get_edgecolor()) != '#000000']
    assert [isinstance(p.get_linestyle(), tuple) for p in colored[:8]] == [False] * 7 + [True]
    assert 'dashed: a colour that comes again' in {text.get_text() for text in drawer.ax_save.texts}


def test_the_hook_draws_regions(tmp_path):
    drawer = EvidenceVisualizer.get_instance('regions', cell_size=100, max_classes=2)
    drawer.dataset_meta = dict(classes=CLASSES)
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=True))
    hook = EvidenceVisualizationHook(enable=True, out_dir=str(tmp_path), interval=1)
    hook._visualizer = drawer
    inputs = torch.full((1, 3, 40, 60), 90, dtype=torch.uint8)
    hook.after_test_iter(
        SimpleNamespace(model=model, iter=0), 0, dict(inputs=inputs), [make_sample(scores=SCORES)]
    )
    (file,) = tmp_path.iterdir()
    assert mmcv.imread(str(file)).shape[:2] == (drawer.height, drawer.width)
    written = [text.get_text() for text in drawer.ax_save.texts]
    assert {
        '4 regions, in order',
        'dog  0.90',
        '1',
        '1 more',
        'region, numbered in order: classes read from it',
    } <= set(written)

"""The visualizer on drawn evidence."""

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample

from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.layout import SheetLayout, fit_picture, overlay
from mmlattn.visualization.panels import sample_panels
from mmlattn.visualization.wording import Wording

CLASSES = ('cat', 'dog', 'bird')


def make_sample(hot=(1, 2)):
    """Cat predicted and true, dog predicted only, bird true only; every map hot in one cell of 4 x 4."""
    sample = DataSample().set_gt_label([0, 2]).set_pred_score(torch.tensor([0.7, 0.9, 0.2]))
    sample.set_pred_label([0, 1])
    maps = torch.zeros(3, 4, 4)
    maps[:, hot[0], hot[1]] = 1
    sample.set_field(maps, 'attention_maps')
    sample.set_field(np.array([[0.5, 0.25, 0.75, 0.5]], np.float32), 'gt_boxes')
    sample.set_field(np.array([0]), 'gt_box_labels')
    return sample


@pytest.fixture
def visualizer():
    """A visualizer that draws cells of 100 pixels."""
    return EvidenceVisualizer('test', cell_size=100)


def test_outcomes_are_ordered_by_score():
    assert list(Wording(make_sample()).outcomes.items()) == [(1, 'wrong'), (0, 'correct'), (2, 'missed')]
    assert Wording(make_sample(), draw_gt=False).outcomes == {1: 'predicted', 0: 'predicted'}
    sample = make_sample()
    sample.set_field(torch.tensor([1]), 'gt_label_ignore')
    assert Wording(sample).outcomes[1] == 'ignored'
    difficult = make_sample()
    difficult.set_field([1], 'gt_label_difficult', field_type='metainfo')
    assert Wording(difficult).outcomes[1] == 'ignored'


def test_targets_are_a_truth_as_labels_are():
    sample = make_sample().set_gt_score(torch.tensor([1.0, -1.0, 1.0]))
    del sample.gt_label
    assert Wording(sample).outcomes == {1: 'ignored', 0: 'correct', 2: 'missed'}
    assert sample_panels(sample, CLASSES)[0].title == 'truth: cat, bird'


def test_panels_say_what_the_sample_holds():
    picture, dog, cat, bird = sample_panels(make_sample(), CLASSES)
    assert picture.title == 'truth: cat, bird' and len(picture.boxes) == 1
    assert [p.title for p in (dog, cat, bird)] == [
        'dog  0.90  ×16',
        'cat  0.70  ×16',
        'bird  0.20  ×16',
    ], 'one of 16 cells has it all'
    assert [len(p.boxes) for p in (dog, cat, bird)] == [0, 1, 0]
    assert cat.peak.tolist() == [0.625, 0.375]


def test_classes_left_out_are_counted_and_named():
    _, dog, rest = sample_panels(make_sample(), CLASSES, max_classes=1)
    assert dog.title == 'dog  0.90  ×16' and rest.title == '2 more'
    assert rest.lines == (('cat  0.70', 'correct'), ('bird  0.20', 'missed'))

    del (sample := make_sample()).attention_maps
    assert len(sample_panels(sample, CLASSES, max_classes=1)[1].lines) == 3, 'a list leaves none out'


@pytest.mark.parametrize(('cell', 'names'), [(200, 7), (80, 5)])
def test_a_list_too_long_for_its_cell_counts_the_others(cell, names):
    labels = list(range(20))
    sample = DataSample().set_pred_score(torch.linspace(0.9, 0.5, 20)).set_pred_label(labels)
    drawer = EvidenceVisualizer(f'long{cell}', cell_size=cell)
    drawer.visualize_cls(np.zeros((8, 8, 3), np.uint8), sample, [f'name{i}' for i in labels])
    written = [text.get_text() for text in drawer.ax_save.texts]
    assert sum(text.startswith('name') for text in written) == names
    assert f'and {20 - names} more' in written


def test_without_evidence_labels_are_listed():
    sample = make_sample()
    del sample.attention_maps
    _, listed = sample_panels(sample, CLASSES)
    assert listed.lines == (('dog  0.90', 'wrong'), ('cat  0.70', 'correct'), ('bird  0.20', 'missed'))


def make_masked_sample():
    """Cat predicted, no attention maps, two masks; the second has the same value everywhere."""
    sample = make_sample()
    del sample.attention_maps
    ramp = torch.arange(4.0).view(1, 2, 2)
    sample.set_field(
        [torch.cat([0.4 + ramp / 10, 0.4 - ramp / 30]), torch.full((3, 5, 5), 0.5)], 'trunk_masks'
    )
    sample.set_metainfo(dict(trunk_mask_names=('backbone.stage1.attention2', 'backbone.layer3')))
    return sample


def test_masks_are_stretched_and_say_their_range():
    picture, listed, first, second = sample_panels(make_masked_sample(), CLASSES)
    assert listed.title == 'labels', 'what the masks do not tell'
    assert first.title == 'stage1.2  0.40 to 0.50', 'from 0.4 to the mean of 0.4 + 0.3 and 0.4 - 0.1'
    torch.testing.assert_close(first.heat, torch.arange(4.0).view(2, 2) / 3)
    assert second.title == 'layer3  0.50 to 0.50' and not second.heat.any()
    assert 'lowest' in first.heat_text and picture.heat is None


def test_masks_and_attention_maps_share_a_sheet(visualizer):
    sample = make_masked_sample()
    sample.set_field(make_sample().attention_maps, 'attention_maps')
    titles = [panel.title for panel in sample_panels(sample, CLASSES)]
    assert titles[1:] == [
        'dog  0.90  ×16',
        'cat  0.70  ×16',
        'bird  0.20  ×16',
        'stage1.2  0.40 to 0.50',
        'layer3  0.50 to 0.50',
    ]
    visualizer.visualize_cls(np.zeros((64, 64, 3), np.uint8), sample, CLASSES)
    written = [text.get_text() for text in visualizer.ax_save.texts]
    assert {'attention, none to most', 'mean mask, its lowest to its highest'} <= set(written)


@pytest.mark.parametrize(
    ('shape', 'flip', 'drawn'),
    [((64, 96), False, 1), ((64, 64), False, 0), ((64, 100), False, 0), ((64, 96), True, 0)],
    ids=['resized', 'cropped', 'padded', 'flipped'],
)
def test_true_boxes_are_drawn_on_whole_pictures_only(shape, flip, drawn):
    """Of 128 x 192 pixels, resized to 64 x 96; they are told of the original."""
    sample = make_sample()
    sample.set_metainfo(dict(ori_shape=(128, 192), scale_factor=(0.5, 0.5), img_shape=shape, flip=flip))
    picture, _, cat, _ = sample_panels(sample, CLASSES)
    assert len(picture.boxes) == len(cat.boxes) == drawn


def test_never_emitted_class_has_no_peak():
    sample = make_sample()
    sample.attention_maps[1] = 0
    assert sample_panels(sample, CLASSES)[1].peak is None


@pytest.mark.parametrize('layout', [SheetLayout(5, 7, 2, 150, 30, 20), SheetLayout(2, 1, 1, 80)])
def test_cells_and_captions_do_not_overlap(layout):
    corners = [layout.cell_corner(b, c) for b in range(layout.blocks) for c in range(layout.cells)]
    areas = [(x, y - layout.caption, x + layout.cell, y + layout.cell) for x, y in corners]
    for a, b in itertools.combinations(areas, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    width, height = layout.size
    assert all(x0 >= layout.margin and x1 <= width - layout.margin for x0, _, x1, _ in areas)
    assert min(a[1] for a in areas) >= layout.margin + layout.heading
    assert max(a[3] for a in areas) <= height - layout.margin - layout.legend


@pytest.mark.parametrize(
    ('shape', 'fitted'), [((10, 20), (50, 100)), ((400, 200), (100, 50)), ((90, 90), (100, 100))]
)
def test_pictures_fit_their_cell(shape, fitted):
    assert fit_picture(np.zeros((*shape, 3), np.uint8), 100).shape == (*fitted, 3)


def test_grey_pictures_are_drawn_as_such(visualizer):
    grey = np.random.default_rng(0).integers(0, 256, (28, 20, 1), dtype=np.uint8)
    drawn = [
        visualizer.visualize_cls(image, make_sample(), CLASSES)
        for image in (grey, np.repeat(grey, 3, axis=2))
    ]
    assert np.array_equal(*drawn)


def test_small_pictures_keep_hard_edges():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 255
    assert set(np.unique(fit_picture(image, 100))) == {0, 255}


def test_overlay_is_grey_where_cold_and_coloured_where_hot():
    picture = np.full((8, 8, 3), (30, 60, 90), np.uint8)
    heat = np.zeros((8, 8))
    heat[:4, 4:] = 0.3
    drawn = overlay(picture, heat, gamma=1)
    assert (drawn[4:] == 60).all() and (drawn[:4, :4] == 60).all()
    top = np.round(0.85 * np.array(matplotlib.colormaps['inferno'](1.0)[:3]) * 255 + 0.15 * 60)
    assert (drawn[:4, 4:] == top).all()
    assert (overlay(picture, np.zeros((2, 2)), gamma=1) == 60).all()


def test_drawing_changes_where_a_map_is_hot(visualizer):
    image = np.full((64, 64, 3), 120, np.uint8)
    one, other = make_sample((0, 0)), make_sample((3, 3))
    for sample in (one, other):
        sample.set_pred_score(torch.tensor([0.9, 0.1, 0.1])).set_pred_label([0]).set_gt_label([0])
    drawings = [visualizer.visualize_cls(image, sample, CLASSES).astype(int) for sample in (one, other)]
    layout = SheetLayout(2, 1, 1, 100, 0, 72)
    assert drawings[0].shape == (*layout.size[::-1], 3)
    rows, columns = np.nonzero(np.abs(drawings[0] - drawings[1]).sum(-1))
    x, y = layout.cell_corner(0, 1)
    assert rows.min() >= y - 5 and rows.max() <= y + 105 and columns.min() >= x - 5
    difference = np.abs(drawings[0] - drawings[1]).sum(-1)[y : y + 100, x : x + 100]
    assert difference[:25, :25].mean() > 50 and difference[75:, 75:].mean() > 50
    assert difference[:25, 75:].max() == 0


def test_stock_visualization_arguments_write_a_file(visualizer, tmp_path):
    visualizer.dataset_meta = dict(classes=CLASSES)
    drawn = visualizer.visualize_cls(
        np.zeros((30, 40, 3), np.uint8),
        make_sample(),
        rescale_factor=4,
        out_file=str(tmp_path / 'a' / 'b.png'),
    )
    assert (tmp_path / 'a' / 'b.png').stat().st_size > 1000
    assert drawn.shape[:2] == SheetLayout(4, 1, 1, 160, 0, 40, 120).size[::-1]


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet'])
def test_builds_under_both_scopes(scope):
    with DefaultScope.overwrite_default_scope(scope):
        built = VISUALIZERS.build(dict(type='mmlattn.EvidenceVisualizer', name=f'built-{scope}'))
    assert type(built) is EvidenceVisualizer


@pytest.mark.parametrize('wrong', [dict(cell_size=20)])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvidenceVisualizer('wrong', **wrong)


def test_sheet_needs_a_sample_for_each_image(visualizer):
    with pytest.raises(ValueError, match='1 images and 0 samples'):
        visualizer.draw_sheet([np.zeros((8, 8, 3), np.uint8)], [])

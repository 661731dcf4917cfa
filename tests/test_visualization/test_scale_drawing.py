"""Scales that zoom in: each cell shows the part it says it shows, in the colour of what its scale says."""

import itertools
import warnings
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from torch.nn.functional import affine_grid, grid_sample

from mmlattn.engine import EvidenceVisualizationHook
from mmlattn.structures import set_regions
from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.layout import SheetLayout
from mmlattn.visualization.panels import sample_panels

CLASSES = ('jay', 'cardinal', 'wren')
NESTED = [[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75], [0.5, 0.375, 0.75, 0.625]]
SCORES = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.0, 0.9, 0.1]]
FUSED = [[0.52, 0.47, 0.01], [0.05, 0.9, 0.05]]


def make_sample(regions=NESTED, scores=SCORES, fused=FUSED, truth=1):
    """A cardinal that the first scale takes for a jay; what all say together is the prediction."""
    final = torch.tensor((fused or scores)[-1])
    sample = DataSample().set_gt_label(truth).set_pred_score(final).set_pred_label(int(final.argmax()))
    sample.set_field(np.array([[0.5, 0.25, 1, 0.5]], np.float32), 'gt_boxes')
    sample.set_field(np.array([truth]), 'gt_box_labels')
    names = tuple(f'scale {k + 1}' for k in range(len(regions)))
    together = torch.tensor([fused]) if fused else None
    set_regions([sample], torch.tensor([regions]), torch.tensor([scores]), names=names, fused_scores=together)
    return sample


def test_each_scale_says_its_own_and_shows_what_it_saw():
    picture, *scales, together = sample_panels(make_sample(), CLASSES)
    assert picture.title == 'truth: cardinal' and not picture.regions
    assert [(p.title, p.outcome) for p in scales] == [
        ('scale 1: jay  0.60', 'wrong'),
        ('scale 2: cardinal  0.70', 'correct'),
        ('scale 3: cardinal  0.90', 'correct'),
    ]
    assert scales[0].zoom is None and [p.zoom.tolist() for p in scales[1:]] == NESTED[1:]
    assert together.lines == (('1+2: jay  0.52', 'wrong'), ('1+2+3: cardinal  0.90', 'correct'))
    drawn = [{r.number: r.box.tolist() for r in p.regions} for p in scales]
    whole = [0, 0, 1, 1]
    assert drawn == [
        {2: NESTED[1], 3: NESTED[2]},
        {2: whole, 3: [0.5, 0.25, 1, 0.75]},
        {3: whole},
    ]
    assert len({(r.number, r.style) for p in scales for r in p.regions}) == 2, 'one style for each scale'
    torch.testing.assert_close(scales[1].boxes[0, :2], torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(scales[1].boxes[0, 3], torch.tensor(0.5))
    assert scales[1].boxes[0, 2] > 1 and scales[2].boxes[0, 1] < 0, (
        'sides outside are not drawn on the border'
    )


@pytest.mark.parametrize('truth', [1, 2])
def test_a_picture_that_needed_one_look(truth):
    sample = make_sample(NESTED[:1], SCORES[2:], None, truth)
    _, scale, *rest = sample_panels(sample, CLASSES)
    assert scale.title == 'scale 1: cardinal  0.90' and not scale.regions and scale.zoom is None
    assert [p.lines for p in rest] == ([] if truth == 1 else [(('wren  0.10', 'missed'),)])


def test_the_answer_is_listed_where_no_cell_tells_it():
    missed = sample_panels(make_sample(truth=2), CLASSES)[-1]
    assert missed.lines[-2:] == (('1+2+3: cardinal  0.90', 'wrong'), ('wren  0.05', 'missed'))
    other = make_sample().set_pred_score(torch.tensor([0.2, 0.7, 0.1]))
    titles = [p.title for p in sample_panels(other, CLASSES)]
    assert titles[:2] == ['truth: cardinal', 'labels'] and titles[-1] == 'together'
    without = [p.title for p in sample_panels(make_sample(fused=None), None, draw_gt=False, draw_score=False)]
    assert without[-3:] == ['scale 1: class 0', 'scale 2: class 1', 'scale 3: class 1']
    assert {p.outcome for p in sample_panels(make_sample(), CLASSES, draw_gt=False)} == {'predicted'}


def test_the_legend_shows_a_number_that_is_drawn():
    """The first scale is the whole picture and has no outline; a single one has no region at all."""
    image, legends = np.zeros((40, 40, 3), np.uint8), []
    for name, sample in (('three', make_sample()), ('one', make_sample(NESTED[:1], SCORES[:1], None))):
        drawer = EvidenceVisualizer(f'legend {name}', cell_size=120)
        drawer.visualize_cls(image, sample, CLASSES)
        tags = [text.get_text() for text in drawer.ax_save.texts if text.get_zorder() == 4]
        legends.append((tags, {text.get_text() for text in drawer.ax_save.texts}))
    (tags, said), (none, little) = legends
    assert tags == ['2', '3', '2', '3', '3', '2'], 'the last one in the legend'
    assert {'what the scale of this number sees', '1+2: scales 1 and 2 together'} <= said
    assert not none and 'what the scale of this number sees' not in little


def cell_of(drawer, cell, row, column, cells=5):
    """What stands in a cell of the sheet last drawn."""
    x, y = SheetLayout(cells, 2, 1, cell).cell_corner(row, column)
    return drawer.get_image()[y : y + cell, x : x + cell].astype(int)


def test_crops_are_the_pixels_of_their_region():
    """As grid_sample reads them, away from frame and tag; the region is square in a picture that is not."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    box = torch.tensor([0.31, 0.22, 0.71, 0.82])
    sample = make_sample([NESTED[0], box.tolist()], SCORES[:2], FUSED[1:])
    del sample.gt_boxes
    drawer = EvidenceVisualizer('crops', cell_size=200)
    grey = make_sample(NESTED[:1], SCORES[:1], None)
    drawer.draw_sheet([image, image[..., :1]], [sample, grey], CLASSES)
    centre, side = box[:2] + box[2:] - 1, box[2:] - box[:2]
    theta = torch.cat([side.diag(), centre[:, None]], dim=1)[None]
    source = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    grid = affine_grid(theta, (1, 3, 200, 200), align_corners=False)
    seen = grid_sample(source, grid, padding_mode='border', align_corners=False)[0].permute(1, 2, 0)
    drawn = cell_of(drawer, 200, 0, 2, cells=4)
    assert np.abs(drawn - seen.numpy())[30:-10, 30:-10].max() <= 2


def test_true_boxes_end_at_the_border_of_a_crop():
    image = np.full((80, 80, 3), 90, np.uint8)
    with_box, without = make_sample(), make_sample()
    without.gt_boxes = without.gt_boxes[:0]
    without.gt_box_labels = without.gt_box_labels[:0]
    drawer = EvidenceVisualizer('ends', cell_size=200)
    sheets = [drawer.draw_sheet([image], [s], CLASSES).astype(int) for s in (with_box, without)]
    x, y = SheetLayout(5, 1, 1, 200).cell_corner(0, 2)
    rows, columns = np.nonzero(np.abs(sheets[0] - sheets[1]).sum(-1)[: y + 210, x - 5 : x + 205])
    assert len(rows) > 100
    assert rows.min() >= y - 1 and rows.max() < y + 100 + 4, 'down to the middle of the crop'
    assert columns.min() >= 5 + 100 - 4 and columns.max() <= 5 + 200, 'from its middle to its right'


nan = float('nan')
BROKEN = {
    'region not finite': (dict(regions=[*NESTED[:2], [nan, 0.2, 0.3, 0.4]]), 'no region to show'),
    'region without area': (dict(regions=[*NESTED[:2], [0.5, 0.2, 0.5, 0.4]]), 'no region to show'),
    'region far out': (dict(regions=[*NESTED[:2], [0.9, 0.9, 1, 1]]), '1+2+3: cardinal  0.90'),
    'scores not finite': (dict(scores=[*SCORES[:2], [nan] * 3]), 'scale 3: scores not finite'),
    'fused not finite': (dict(fused=[FUSED[0], [nan] * 3]), '1+2+3: scores not finite'),
    'one class': (dict(scores=[[1.0]] * 3, fused=[[1.0]] * 2, truth=0), '1+2+3: jay  1.00'),
}


@pytest.mark.parametrize('name', BROKEN)
@pytest.mark.parametrize(('shape', 'cell'), [((3, 40, 3), 80), ((90, 31, 1), 200)])
def test_whatever_comes_is_drawn(name, shape, cell):
    """Without a warning, with tags inside of the cells, apart within each."""
    changes, said = BROKEN[name]
    drawer = EvidenceVisualizer(f'{name}{cell}', cell_size=cell, max_classes=1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        drawer.visualize_cls(np.full(shape, 128, np.uint8), make_sample(**changes), CLASSES)
    written = [text.get_text() for text in drawer.ax_save.texts]
    assert said in written or cell == 80
    tags = [p.get_window_extent() for p in drawer.ax_save.patches if p.get_zorder() == 3][:-1]
    assert len(tags) >= 2, 'and one in the legend'
    layout = SheetLayout(5, 1, 1, cell)
    for tag in tags:
        left = (tag.x0 - layout.margin) % (layout.cell + layout.gap)
        assert left + tag.width <= layout.cell + 1
    if shape[0] > 3:
        assert not any(a.overlaps(b) for a, b in itertools.combinations(tags, 2))


def test_the_hook_draws_scales(tmp_path):
    """Of pictures that took different numbers of looks."""
    drawer = EvidenceVisualizer.get_instance('scales', cell_size=100)
    drawer.dataset_meta = dict(classes=CLASSES)
    hook = EvidenceVisualizationHook(enable=True, out_dir=str(tmp_path), interval=1)
    hook._visualizer = drawer
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=True))
    samples = [make_sample(), make_sample(NESTED[:1], SCORES[2:], None)]
    inputs = torch.full((2, 3, 40, 60), 90, dtype=torch.uint8)
    hook.after_test_iter(SimpleNamespace(model=model, iter=0), 0, dict(inputs=inputs), samples)
    widths = sorted(mmcv.imread(str(file)).shape[1] for file in tmp_path.iterdir())
    assert widths == sorted(SheetLayout(cells, 1, 1, 100).size[0] for cells in (2, 5))

"""What is drawn can be read: by any eyes, in any picture, with nothing cut off and nothing upon something else."""

import itertools
import warnings

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, Rectangle
from mmpretrain.structures import DataSample

from mmlattn.structures import set_regions
from mmlattn.utils import UserError
from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.layout import SheetLayout, overlay
from mmlattn.visualization.palette import INK, OKABE_ITO, OUTCOME_COLORS, REGION_COLORS, contrast, legible_on
from mmlattn.visualization.panels import sample_panels

NAMES = [
    'person',
    'dining table',
    'hippopotamus amphibius of the upper Nile, young and adult',
    '1',
    'a\nb  c',
    '$x$',
]
NAMES += [f'name {i}' for i in range(len(NAMES), 24)]
SHAPES = [(32, 32, 3), (30, 300, 3), (300, 30, 3), (48, 64, 1), (900, 4000, 3), (64, 48, 3)]


def make_sample(predicted, truth=None, ignored=()):
    sample = DataSample().set_pred_label(sorted(predicted))
    sample.set_pred_score(torch.linspace(0.99, 0.1, len(NAMES)))
    if truth is not None:
        sample.set_gt_label(sorted(truth))
        sample.set_field(torch.tensor(ignored, dtype=torch.long), 'gt_label_ignore')
    return sample


def with_maps(sample):
    sample.set_field(
        torch.rand(len(NAMES), 7, 7, generator=torch.Generator().manual_seed(0)) ** 3, 'attention_maps'
    )
    return sample


def with_path(sample):
    sample.set_field(torch.tensor(sample.pred_label.tolist(), dtype=torch.long), 'label_path')
    sample.set_field(torch.tensor(-0.7), 'path_logprob')
    sample.set_field(torch.tensor(sample.pred_label.tolist()[:1], dtype=torch.long), 'label_present')
    return sample


def with_regions(sample, names=None):
    corners = torch.linspace(0.05, 0.5, 3)[None, :, None].expand(1, 3, 2)
    boxes, scores = torch.cat([corners, corners + 0.4], dim=-1), torch.eye(3, len(NAMES))[None]
    set_regions([sample], boxes, scores, names=names, fused_scores=scores[:, 1:] if names else None)
    return sample


def with_masks(sample):
    sample.set_field([torch.rand(4, 9, 9), torch.full((4, 9, 9), 0.5)], 'trunk_masks')
    sample.set_metainfo(dict(trunk_mask_names=('backbone.stage1.attention1', 'backbone.stage2.attention1')))
    return sample


SYSTEMS = {
    'CSRA': with_maps,
    'RAN': with_masks,
    'ST-LSTM': with_regions,
    'RA-CNN': lambda sample: with_regions(sample, ('scale 1', 'scale 2', 'scale 3')),
    'CNN-RNN': lambda sample: with_path(with_maps(sample)),
    # On a sheet of two cells, which is narrower than what the legend has to say.
    'CNN-RNN without maps': with_path,
    'none': lambda sample: sample,
}
# Predicted, true, ignored: one, several, very many; none predicted, no truth, nothing at all.
LABELS = [
    ([0], [0]),
    ([0, 2, 4], [0, 2, 1]),
    (range(20), range(3, 22), [0, 1]),
    ([], [5]),
    ([2, 3],),
    ([], []),
]


def test_contrast_is_that_of_the_guidelines():
    """Black on white is 21; of all greys on white #767676 is the last with 4.5."""
    assert contrast('black', 'white') == contrast('white', 'black') == pytest.approx(21)
    assert contrast('white', 'white') == 1
    assert contrast('#767676', 'white') == pytest.approx(4.54, abs=0.005)
    assert contrast('#777777', 'white') == pytest.approx(4.48, abs=0.005)
    assert contrast('#FF0000', 'white') == pytest.approx(4.00, abs=0.005)


def test_colours_are_of_the_palette():
    """As published in Nature Methods 8, 441 (2011), in red, green and blue."""
    published = {
        (0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
        (204, 121, 167),
    }  # fmt: skip
    ours = {tuple(bytes.fromhex(color[1:])) for color in OKABE_ITO.values()}
    assert ours == published
    assert {*OUTCOME_COLORS.values(), *REGION_COLORS} <= set(OKABE_ITO.values())
    assert len(set(OUTCOME_COLORS.values())) == 4 and len(set(REGION_COLORS)) == 7


def test_outcomes_are_told_without_colour():
    """Each mark, in grey and with its ground taken away, differs from the others by its sign."""
    drawer, signs = EvidenceVisualizer('signs', cell_size=1000), []
    image = np.zeros((8, 8, 3), np.uint8)
    drawn = drawer.visualize_cls(image, make_sample([0, 1, 3], [0, 2], [3]), NAMES)
    marks = [patch for patch in drawer.ax_save.patches if isinstance(patch, Circle)][:4]
    outcomes = ['correct', 'wrong', 'missed', 'ignored']
    assert [to_hex(mark.get_facecolor()).upper() for mark in marks] == [OUTCOME_COLORS[o] for o in outcomes]
    for mark in marks:
        (x, y), half = mark.center, mark.radius * 0.65
        patch = drawn[round(y - half) : round(y + half), round(x - half) : round(x + half)].mean(-1)
        ground = np.mean(mark.get_facecolor()[:3]) * 255
        signs.append(np.abs(patch - ground) > 50)
    for one, other in itertools.combinations(signs, 2):
        side = min(len(one), len(other))
        # Of the same sign they differ by the fraction of a pixel where it begins.
        assert (one[:side, :side] != other[:side, :side]).mean() > 0.2


def ground_of(box, patches):
    """Colour of what a text stands on: the smallest dot or tag around its middle, else the sheet."""
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    around = [p for p in patches if p.get_fill() and p.get_window_extent().contains(*middle)]
    around = [p for p in around if isinstance(p, Circle) or p.get_zorder() == 3]
    smallest = min(around, key=lambda p: p.get_window_extent().width, default=None)
    return 'white' if smallest is None else to_hex(smallest.get_facecolor())


@pytest.mark.parametrize('color', [*OKABE_ITO.values(), INK, '#757575', 'white'])
def test_letters_stand_out_from_any_ground(color):
    assert contrast(legible_on(color), color) >= 4.5


@pytest.mark.parametrize(('system', 'cell'), [*((system, 80) for system in SYSTEMS), ('CNN-RNN', 200)])
def test_nothing_is_cut_off_or_covered(system, cell):
    """One sheet of pictures of each shape and each number of labels, on the canvas itself, without a warning."""
    # RA-CNN always has an answer.
    said = [labels for labels in LABELS if labels[0] or system != 'RA-CNN']
    samples = [SYSTEMS[system](make_sample(*labels)) for labels in said]
    images = [np.full(shape, 128, np.uint8) for shape in SHAPES[: len(said)]]
    drawer = EvidenceVisualizer(f'{system}{cell}', cell_size=cell)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        drawer.draw_sheet(
            images, samples, NAMES, title='A heading that is wider than the narrowest sheet' * 2
        )
    texts = [text for text in drawer.ax_save.texts if text.get_text()]
    patches = [p for p in drawer.ax_save.patches if isinstance(p, (Circle, Rectangle))]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0 and box.x1 <= drawer.width, text.get_text()
        assert box.y0 >= -1 and box.y1 <= drawer.height, text.get_text()
        assert '\n' not in text.get_text()
        assert contrast(to_hex(text.get_color()), ground_of(box, patches)) >= 4.5, text.get_text()
    # The tags of regions lie over pictures; test_region_drawing.py has them.
    plain = [box.shrunk(0.98, 0.7) for text, box in zip(texts, boxes, strict=True) if text.get_zorder() != 4]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(plain, 2))


def test_every_panel_says_something():
    """Also where nothing was found and nothing was there."""
    for system, evidence in SYSTEMS.items():
        if system != 'RA-CNN':
            _, *panels = sample_panels(evidence(make_sample([], [])), NAMES)
            assert panels and all(p.lines or p.heat is not None or p.title for p in panels)
    assert sample_panels(make_sample([], []), NAMES)[1].lines == (('no labels', 'predicted'),)


@pytest.mark.parametrize(('ratio', 'told'), [(1, '1.0'), (4 / 3, '1.3'), (16, '16')])
def test_a_map_fades_with_its_contrast(ratio, told):
    """With its peak at p over a mean of 1 the hottest place hides 85 % of 1 - 1 / p of the picture."""
    heat = torch.full((24, 4, 4), (16 - ratio) / 15)
    heat[:, 1, 2] = ratio
    sample = make_sample([0])
    sample.set_field(heat / 16, 'attention_maps')
    panel = sample_panels(sample, NAMES)[1]
    assert panel.title == f'person  0.99  ×{told}' and panel.listed == ('person  0.99',)
    assert (panel.peak is None) == (ratio == 1)
    picture, hot = np.full((8, 8, 3), 120, np.uint8), np.ones((1, 1))
    drawn = overlay(picture, hot, panel.heat_gamma, panel.heat_opacity)
    opacity = 0.85 * (1 - 1 / ratio)
    top = 255 * np.array(matplotlib.colormaps['inferno'](1.0)[:3])
    np.testing.assert_allclose(drawn[4, 4], 120 * (1 - opacity) + top * opacity, atol=1)


def test_a_flat_map_leaves_the_photograph():
    sample = make_sample([0])
    sample.set_field(torch.full((24, 4, 4), 1 / 16), 'attention_maps')
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    drawn = EvidenceVisualizer('flat', cell_size=100).visualize_cls(image, sample, NAMES)
    x, y = SheetLayout(2, 1, 1, 100).cell_corner(0, 1)
    grey = image.mean(axis=-1, keepdims=True)
    assert np.abs(drawn[y + 2 : y + 98, x + 2 : x + 98] - grey[2:98, 2:98]).max() <= 1


def test_a_map_that_is_not_finite_is_said_and_not_drawn():
    sample = with_maps(make_sample([0, 1]))
    sample.attention_maps[0, 3, 3] = float('nan')
    _, broken, sound = sample_panels(sample, NAMES)
    assert broken.title == 'person  0.99  map not finite' and broken.heat is None and sound.heat is not None


def test_masks_that_the_caption_calls_one_value_are_not_stretched():
    sample = make_sample([0])
    sample.set_field([torch.full((2, 3, 3), 0.5) + torch.rand(2, 3, 3) * 1e-3], 'trunk_masks')
    assert not sample_panels(sample, NAMES)[-1].heat.any()


def test_scores_that_are_not_numbers_come_last():
    sample = make_sample([0, 1, 2])
    sample.pred_score[0] = float('nan')
    listed = sample_panels(sample, NAMES)[1].lines
    assert [text.partition('  ')[0] for text, _ in listed] == ['dining table', NAMES[2], 'person']


def test_a_list_that_is_cut_counts_the_outcomes_of_the_rest():
    """Of 22 lines in a cell of 8 the last 15: 2 that should have been predicted among them."""
    sample = make_sample(range(20), range(18, 22))
    panel = sample_panels(sample, NAMES)[1].cut(8)
    assert len(panel.lines) == 8
    assert panel.lines[-1] == ('and 15 more: 11 wrong, 2 correct, 2 missed', 'predicted')
    assert sample_panels(make_sample(range(20)), NAMES)[1].cut(8).lines[-1][0] == 'and 13 more'


def test_a_list_that_is_cut_hides_its_outcomes_from_the_legend():
    drawer = EvidenceVisualizer('cut', cell_size=80)
    drawer.visualize_cls(np.zeros((8, 8, 3), np.uint8), make_sample(range(20), range(19)), NAMES)
    said = {text.get_text() for text in drawer.ax_save.texts}
    assert 'correct' in said and 'wrongly predicted' not in said


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=['four channels', 'channels first', 'float', 'empty'],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(UserError, match=r'must be \(H, W, 3\) in RGB or \(H, W\)'):
        EvidenceVisualizer('refuses').visualize_cls(image, make_sample([0]), NAMES)


def test_names_that_do_not_suffice_are_refused():
    with pytest.raises(UserError, match='class 5, but there are only 2 class names'):
        sample_panels(make_sample([5]), NAMES[:2])

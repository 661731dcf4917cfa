"""A decoder's path: its labels in their order, how right each is, and the maps they were read from."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import Circle, FancyArrowPatch
from mmpretrain.structures import DataSample

from mmlattn.visualization import EvidenceVisualizer
from mmlattn.visualization.palette import INK, OUTCOME_COLORS
from mmlattn.visualization.panels import sample_panels

CLASSES = ('person', 'cat', 'dog', 'dining table', 'fork')
SCORES = (0.9, 0.2, 0.6, 0.95, 0.7)


def make_sample(path=(3, 4, 2), truth=(1, 3, 4), maps=False):
    """A dog is wrongly there, the cat is missed; the table was known to be there, and of forks nothing is asked."""
    sample = DataSample().set_gt_label(list(truth)).set_pred_label(list(path))
    sample.set_pred_score(torch.tensor(SCORES))
    sample.set_field(torch.tensor(path, dtype=torch.long), 'label_path')
    sample.set_field(torch.tensor(math.log(0.125)), 'path_logprob')
    sample.set_field(torch.tensor([3]), 'label_present')
    if maps:
        heat = torch.zeros(5, 3, 4)
        heat[list(path)] = 1 / 12
        sample.set_field(heat, 'attention_maps')
    return sample


def test_labels_in_their_order_then_the_missed_ones():
    _, path = sample_panels(make_sample(), CLASSES)
    assert path.title == 'label path  p = 0.12' and path.steps == 3
    assert path.lines == (
        ('dining table  0.95  known', 'correct'),
        ('fork  0.70', 'correct'),
        ('dog  0.60', 'wrong'),
        ('cat  0.20', 'missed'),
    )
    sample = make_sample()
    sample.set_field(torch.tensor([2]), 'gt_label_ignore')
    assert sample_panels(sample, CLASSES)[1].lines[2] == ('dog  0.60', 'ignored')
    _, path = sample_panels(make_sample(), None, draw_gt=False, draw_score=False)
    assert path.title == 'label path'
    lines = ('class 3  known', 'class 4', 'class 2')
    assert path.lines == tuple((line, 'predicted') for line in lines)


def test_a_path_without_labels_and_a_prediction_beside_the_path():
    _, path = sample_panels(make_sample(path=()), CLASSES)
    assert path.lines[0] == ('no labels', 'predicted') and len(path.lines) == 4 and not path.steps
    sample = make_sample().set_pred_label([3, 0])
    del sample.path_logprob
    _, path = sample_panels(sample, CLASSES)
    assert path.title == 'label path' and path.steps == 3
    assert path.lines[3:] == (('fork  0.70', 'missed'), ('cat  0.20', 'missed'), ('person  0.90', 'wrong'))


def test_maps_are_numbered_in_the_order_of_the_path():
    """Not in that of the scores; a class that was not emitted has no map and gets no cell."""
    _, path, *maps = sample_panels(make_sample(path=(4, 2, 3), maps=True), CLASSES)
    assert [(p.turn, p.title, p.outcome) for p in maps] == [
        (1, 'fork  0.70  ×1.0', 'correct'),
        (2, 'dog  0.60  ×1.0', 'wrong'),
        (3, 'dining table  0.95  ×1.0', 'correct'),
    ]
    assert len(path.lines) == 4 and all(p.heat.any() for p in maps)
    few = sample_panels(make_sample(path=(4, 2, 3), maps=True), CLASSES, max_classes=2)
    assert [(p.turn, p.title) for p in few[2:]] == [(1, 'fork  0.70  ×1.0'), (3, 'dining table  0.95  ×1.0')]


@pytest.mark.parametrize(('cell', 'dots'), [(200, 5), (80, 5)])
def test_dots_and_arrows_are_drawn(cell, dots):
    """A numbered dot for each label, then the mark of its outcome, then its name; an arrow to the next, downwards."""
    drawer = EvidenceVisualizer(f'path{cell}', cell_size=cell)
    sample = make_sample(path=(3, 4, 2, 0, 1))
    drawer.visualize_cls(np.zeros((8, 8, 3), np.uint8), sample, CLASSES)
    circles = [patch for patch in drawer.ax_save.patches if isinstance(patch, Circle)][: 2 * dots]
    outcomes = ['correct', 'correct', 'wrong', 'wrong', 'correct']
    colors = [color for outcome in outcomes for color in (INK, OUTCOME_COLORS[outcome])]
    assert [to_hex(circle.get_facecolor()) for circle in circles] == [color.lower() for color in colors]
    # Their first letters: in a small cell they are cut.
    names = {text.get_text()[:2]: text for text in drawer.ax_save.texts if '  ' in text.get_text()}
    texts = [names[CLASSES[label][:2]] for label in (4, 2, 0, 1)]
    for dot, mark, text in zip(circles[2::2], circles[3::2], texts, strict=True):
        box = text.get_window_extent().transformed(drawer.ax_save.transData.inverted())
        assert (
            box.x0 > mark.center[0] + mark.radius > dot.center[0] + dot.radius < mark.center[0] - mark.radius
        )
        assert abs(dot.center[1] - (box.y0 + box.y1) / 2) < dot.radius and dot.center[1] == mark.center[1]
    assert [text.get_text() for text in drawer.ax_save.texts if text.get_text().isdigit()][:dots] == list(
        '12345'
    )
    arrows = [text.arrow_patch for text in drawer.ax_save.texts if getattr(text, 'arrow_patch', None)]
    assert len(arrows) == dots - 1 and all(isinstance(arrow, FancyArrowPatch) for arrow in arrows)
    written = [text.get_text() for text in drawer.ax_save.texts]
    said = ' '.join(text for text in written if not text.isdigit())
    for text in (
        'order in which labels were decoded',
        'p: probability of the path',
        'known: told before decoding',
    ):
        assert text in said


def test_a_path_too_long_for_its_cell_is_counted():
    """The line that counts the others has no dot."""
    labels = list(range(12))
    sample = DataSample().set_pred_label(labels).set_pred_score(torch.linspace(0.9, 0.5, 12))
    sample.set_field(torch.tensor(labels), 'label_path')
    drawer = EvidenceVisualizer('long path', cell_size=200)
    drawer.visualize_cls(np.zeros((8, 8, 3), np.uint8), sample, [f'name{i}' for i in labels])
    written = [text.get_text() for text in drawer.ax_save.texts]
    shown = sum(text.startswith('name') for text in written)
    assert 4 < shown < 12 and f'and {12 - shown} more' in written
    assert sum(text.isdigit() for text in written) == shown + 1, 'and one in the legend'

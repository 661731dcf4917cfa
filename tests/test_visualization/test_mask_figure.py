"""The figure of soft masks: which channels it shows, and that it shows what it says."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from mmlattn.visualization.mask_figure import AttentionMaps, draw_masks, telling_channels


@pytest.mark.parametrize('seed', range(3))
def test_telling_channels_explain_most_of_what_is_left(seed):
    mask = torch.rand(9, 4, 5, generator=torch.Generator().manual_seed(seed)) * torch.rand(9, 1, 1)
    rest = mask.flatten(1).double() - mask.flatten(1).double().mean(dim=1, keepdim=True)
    expected = []
    for _ in range(5):
        expected.append(int(rest.norm(dim=1).argmax()))
        direction = rest[expected[-1]] / rest[expected[-1]].norm()
        rest = rest - torch.outer(rest @ direction, direction)
    assert telling_channels(mask, 5) == expected


def test_channels_that_tell_nothing_new_are_left_out():
    ramp = torch.arange(12.0).view(1, 3, 4)
    other = torch.zeros(1, 3, 4)
    other[0, 1, 1] = 1
    mask = torch.cat([0.1 * ramp, torch.full((1, 3, 4), 7.0), 0.2 * ramp + 1, other])
    assert telling_channels(mask, 4) == [2, 3], 'not the constant channel, and not the other ramp'
    assert telling_channels(torch.ones(2, 3, 3), 2) == []


def make_attentions(naive=False):
    generator = torch.Generator().manual_seed(0)
    attentions = []
    for stage, size in enumerate([(8, 12, 16), (16, 6, 8)], start=1):
        trunk, mask = torch.randn(size, generator=generator), torch.rand(size, generator=generator)
        fused = mask * trunk if naive else (1 + mask) * trunk
        attentions.append(AttentionMaps(f'backbone.stage{stage}.attention1', trunk, mask, fused, naive))
    return attentions


def texts_of(figure):
    return [text for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize('naive', [False, True])
def test_cells_show_the_maps_they_name(naive):
    picture = np.zeros((30, 40, 3), np.uint8)
    attentions = make_attentions(naive)
    figure = draw_masks(picture, {'a.jpg': 'black', 'RANDOM': 'red'}, attentions, channels=2)
    shown, *cells = (axes.images[0] for axes in figure.axes)
    assert np.array_equal(shown.get_array(), picture)
    texts = [text.get_text() for text in texts_of(figure)]
    assert texts[:2] == ['a.jpg', 'RANDOM'] and texts.count(f'after: {"M T" if naive else "(1 + M) T"}') == 2
    for row, attention in enumerate(attentions):
        mean, *rest = cells[7 * row : 7 * row + 7]
        np.testing.assert_allclose(mean.get_array(), attention.mask.mean(0), atol=1e-6)
        for number, channel in enumerate(telling_channels(attention.mask, 2)):
            group = rest[3 * number : 3 * number + 3]
            maps = (attention.trunk, attention.mask, attention.fused)
            for cell, values in zip(group, maps, strict=True):
                np.testing.assert_array_equal(cell.get_array(), values[channel])
            before, _, after = group
            assert before.get_clim() == after.get_clim() and sum(before.get_clim()) == 0
            assert f'channel {channel}' in texts


@pytest.mark.parametrize('shape', [(20, 90), (90, 20), (50, 50)])
@pytest.mark.parametrize('channels', [1, 3])
def test_cells_of_any_shape_keep_apart(shape, channels):
    figure = draw_masks(np.zeros((*shape, 3), np.uint8), {'x': 'black'}, make_attentions(), channels)
    (canvas := FigureCanvasAgg(figure)).draw()
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    for a, b in itertools.combinations(boxes, 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
    for box in boxes:
        assert box.width * width / (box.height * height) == pytest.approx(shape[1] / shape[0])
        assert box.x0 > 0 and box.x1 < 1 and box.y0 > 0 and box.y1 < 1
    texts, renderer = texts_of(figure), canvas.get_renderer()
    extents = [t.get_window_extent(renderer).transformed(figure.transFigure.inverted()) for t in texts]
    for a, b in itertools.combinations(extents, 2):
        assert not a.overlaps(b)
    for text, extent in zip(texts, extents, strict=True):
        assert extent.x1 < 1 and extent.y0 > 0, f'{text.get_text()} runs out of the figure'
        assert not any(extent.overlaps(box) for box in boxes), text.get_text()

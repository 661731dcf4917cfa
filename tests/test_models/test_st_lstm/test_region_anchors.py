"""Anchors of the regions: the paper's two figures, and the circle."""

import math

import pytest
import torch

from mmlattn.models.st_lstm.regions import region_anchors

FOUR = [[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]
EIGHT = [
    [0.5, 0.5], [0, 0.7071], [-0.5, 0.5], [-0.7071, 0], [-0.5, -0.5], [0, -0.7071], [0.5, -0.5], [0.7071, 0],
]  # fmt: skip


@pytest.mark.parametrize('golden', [FOUR, EIGHT], ids=['K=5', 'K=9'])
def test_golden_anchors(golden):
    expected = torch.tensor(golden)
    torch.testing.assert_close(region_anchors(len(golden) + 1)[0][1:], expected, rtol=0, atol=1e-4)
    for first, anchored in (('none', False), ('center', True)):
        anchors, mask = region_anchors(len(golden) + 1, math.sqrt(0.5), math.pi / 4, first)
        assert anchors.shape == (len(golden) + 1, 2) and mask.dtype == torch.bool
        torch.testing.assert_close(anchors[1:].float(), expected, rtol=0, atol=1e-4)
        assert anchors[0].tolist() == [0, 0]
        assert mask.tolist() == [anchored] + [True] * len(golden)


@pytest.mark.parametrize(('count', 'radius', 'start'), [(1, 0.3, 0.0), (3, 0.5, 1.0), (7, 1.2, -2.0)])
def test_evenly_on_the_circle(count, radius, start):
    """As the points of a rotation: x right, y down, so a positive angle turns clockwise on the picture."""
    anchors, _ = region_anchors(count + 1, radius, start)
    points = torch.view_as_complex(anchors[1:].double().contiguous())
    steps = torch.arange(count, dtype=torch.float64) * 2 * math.pi / count
    expected = radius * torch.exp(1j * (start + steps))
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('first', ['none', 'center'])
def test_one_region_needs_no_circle(first):
    anchors, mask = region_anchors(1, 0.5, 0.0, first)
    assert anchors.tolist() == [[0, 0]] and mask.tolist() == [first == 'center']

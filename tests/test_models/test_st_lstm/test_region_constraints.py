"""The penalties on regions against hand-computed values, plain loops, torchvision and finite differences."""

import pytest
import torch
from reference.st_lstm import constraints
from torchvision.ops import box_iou

from mmlattn.models.layers.spatial_transformer import theta_to_boxes
from mmlattn.models.st_lstm.constraints import (
    anchor_penalty,
    overlap_penalty,
    pairwise_iou,
    positive_penalty,
    scale_penalty,
)
from mmlattn.models.st_lstm.regions import region_anchors

ANCHORS, MASK = region_anchors(5)
GOLDEN = torch.tensor(
    [
        [1, 1, 0.2, -0.1],
        [0.5, 0.05, 0.5, 0.5],
        [-0.2, 0.7, 0, 0],
        [0.3, 0.3, -0.5, -0.4],
        [0.6, -0.6, 0.5, -0.5],
    ],
    dtype=torch.float64,
)


def close(got, expected, atol=1e-12):
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=got.dtype), rtol=0, atol=atol)


def test_golden_penalties():
    scale, positive = scale_penalty(GOLDEN, 0.5), positive_penalty(GOLDEN, 0.1)
    anchor = anchor_penalty(GOLDEN, ANCHORS, MASK)
    close(scale, [0.5, 0, 0.04, 0, 0.02])
    close(positive, [0, 0.05, 0.3, 0, 0.7])
    close(anchor, [0, 0, 0.25, 0.005, 0], atol=1e-7)
    close((scale + 0.01 * anchor + 0.1 * positive).sum(), 0.66755, atol=1e-7)


@pytest.mark.parametrize('first', ['none', 'center'])
@pytest.mark.parametrize('count', [1, 2, 4])
def test_equal_the_loop(count, first):
    torch.manual_seed(count)
    theta = torch.randn(3, count, 4, dtype=torch.float64)
    anchors, mask = region_anchors(count, 0.6, 0.3, first)
    looped = [constraints(image, 0.4, 0.2, first, radius=0.6, start_angle=0.3) for image in theta]
    got = dict(
        scale=scale_penalty(theta, 0.4),
        positive=positive_penalty(theta, 0.2),
        anchor=anchor_penalty(theta, anchors, mask),
        overlap=overlap_penalty(theta),
    )
    for name, penalty in got.items():
        close(penalty, torch.stack([torch.stack(image[name]) for image in looped]), atol=1e-6)


def test_iou_is_that_of_torchvision():
    torch.manual_seed(0)
    boxes = theta_to_boxes(torch.randn(2, 3, 6, 4, dtype=torch.float64))
    got = pairwise_iou(boxes)
    expected = torch.stack([box_iou(b, b) for b in boxes.flatten(0, 1)]).unflatten(0, (2, 3))
    assert 0 < (expected > 0).float().mean() < 1
    close(got, expected)


def test_overlap_of_equal_and_apart_regions():
    """Three regions, of which two are the same quadrant: 1 for one of two others; neighbours only touch."""
    theta = torch.tensor([[0.5, 0.5, 0.5, 0.5], [-0.5, 0.5, 0.5, 0.5], [0.5, 0.5, -0.5, 0.5]])
    close(overlap_penalty(theta), [0.5, 0.5, 0])
    assert overlap_penalty(theta[:1]).tolist() == [0]


@pytest.mark.parametrize(
    'penalty',
    [
        lambda theta: scale_penalty(theta, 0.3),
        lambda theta: anchor_penalty(theta, ANCHORS.double(), MASK),
        lambda theta: positive_penalty(theta, 0.1),
        overlap_penalty,
        lambda theta: pairwise_iou(theta_to_boxes(theta)),
    ],
    ids=['scale', 'anchor', 'positive', 'overlap', 'iou'],
)
def test_gradients(penalty):
    torch.manual_seed(1)
    assert torch.autograd.gradcheck(penalty, torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize('value', [0.0, 1e4, -1e4, 1e-30])
def test_extreme_regions_are_finite(value):
    theta = torch.full((1, 5, 4), value, requires_grad=True)
    terms = [
        scale_penalty(theta, 0.5),
        anchor_penalty(theta, ANCHORS, MASK),
        positive_penalty(theta, 0.1),
        overlap_penalty(theta),
    ]
    for term in terms:
        (grad,) = torch.autograd.grad(term.sum(), theta)
        assert term.shape == (1, 5) and term.isfinite().all() and grad.isfinite().all()
    assert pairwise_iou(torch.zeros(1, 2, 4)).eq(0).all()


def test_compute_in_single_precision_under_autocast():
    theta = GOLDEN.float()
    expected = overlap_penalty(theta), anchor_penalty(theta, ANCHORS, MASK), scale_penalty(theta, 0.5)
    with torch.autocast('cpu', torch.bfloat16):
        got = overlap_penalty(theta), anchor_penalty(theta, ANCHORS, MASK), scale_penalty(theta, 0.5)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)

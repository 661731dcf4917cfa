"""Squares: the three rules, what sticks out, and the region that responds most, against plain loops."""

import numpy as np
import pytest
import reference.racnn as reference
import torch

from mmlattn.models.layers.spatial_transformer import compose_theta, theta_to_boxes
from mmlattn.models.racnn.squares import (
    SQUARE_BORDERS,
    highest_response_square,
    outside_share,
    place_squares,
    squares_to_boxes,
    squares_to_theta,
)

RULES = dict(
    bounded=reference.bounded_square,
    clip=reference.clipped_square,
    shift=reference.shifted_square,
)
# Inside, over one edge, over a corner, over all edges.
SQUARES = torch.tensor(
    [[0.5, 0.4, 0.2], [0.1, 0.5, 0.3], [0.9, 0.05, 0.25], [0.5, 0.45, 0.6]], dtype=torch.float64
)


@pytest.mark.parametrize('least', [1 / 6, 0.01, 1 / 3])
@pytest.mark.parametrize('border', SQUARE_BORDERS)
def test_rules_are_those_of_the_loop(border, least):
    torch.manual_seed(0)
    raw = 3 * torch.randn(4, 25, 3, dtype=torch.float64)
    expected = [[RULES[border](each.tolist(), least) for each in row] for row in raw]
    torch.testing.assert_close(
        place_squares(raw, border, least), raw.new_tensor(expected), rtol=0, atol=1e-14
    )


def test_shift_reads_what_the_ports_read():
    """They limit l from below alone, and then cut what sticks out: a larger square than the picture is all of it."""
    torch.manual_seed(0)
    raw = 4 * torch.randn(200, 3, dtype=torch.float64)
    expected = []
    for a, b, half in raw.sigmoid().tolist():
        half = max(half, 1 / 3)
        x, y = (min(max(centre, half), 1 - half) for centre in (a, b))
        expected.append([max(x - half, 0), max(y - half, 0), min(x + half, 1), min(y + half, 1)])
    assert (raw.sigmoid()[:, 2] > 0.5).any()
    boxes = squares_to_boxes(place_squares(raw, 'shift', 1 / 3)).clamp(0, 1)
    torch.testing.assert_close(boxes, raw.new_tensor(expected))


def test_defaults_are_the_papers_third_and_bounded():
    """Zeros, where training starts: l half way from 1/6 to 1/2, in the centre."""
    torch.testing.assert_close(place_squares(torch.zeros(1, 3)), torch.tensor([[0.5, 0.5, 1 / 3]]))
    least = place_squares(torch.tensor([[0.0, 0.0, -50.0]]))
    torch.testing.assert_close(least, torch.tensor([[0.5, 0.5, 1 / 6]]))


def test_bounded_lies_inside_and_never_goes_dead():
    torch.manual_seed(0)
    raw = (12 * torch.rand(500, 3, dtype=torch.float64) - 6).requires_grad_()
    squares = place_squares(raw)
    boxes = squares_to_boxes(squares)
    assert boxes.min() >= 0 and boxes.max() <= 1
    assert squares[:, 2].min() >= 1 / 6 and squares[:, 2].max() <= 0.5
    for axis in range(3):  # each number moves its own part of the square
        (slope,) = torch.autograd.grad(squares[:, axis].sum(), raw, retain_graph=True)
        assert (slope[:, axis] > 1e-8).all()
    assert torch.autograd.gradcheck(place_squares, raw[:5].detach().requires_grad_())


@pytest.mark.parametrize('border', ['clip', 'shift'])
def test_limits_let_the_gradient_of_the_sigmoid_through(border):
    """A square at a limit can come back."""
    raw = torch.tensor([[-4.0, 4.0, -3.0], [4.0, -4.0, 3.0], [0.1, 0.2, -0.5]], dtype=torch.float64)
    cotangent = torch.rand(3, 3, dtype=torch.float64)
    raw.requires_grad_()
    (got,) = torch.autograd.grad(place_squares(raw, border), raw, cotangent)
    s = raw.detach().sigmoid()
    torch.testing.assert_close(got, cotangent * s * (1 - s))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_does_not_move_squares(dtype):
    raw = torch.tensor([[0.3, -0.7, 0.2]], dtype=dtype)
    with torch.autocast('cpu', torch.bfloat16):
        squares = place_squares(raw)
        theta = squares_to_theta(squares)
    assert squares.dtype == theta.dtype == torch.float32
    assert torch.equal(squares, place_squares(raw.float()))
    assert torch.equal(theta, squares_to_theta(squares))


def test_what_sticks_out_is_cut_and_counted():
    torch.testing.assert_close(
        outside_share(SQUARES), torch.tensor([0, 1 / 3, 0.58, 1 - 1 / 1.44], dtype=torch.float64)
    )
    expected = SQUARES.new_tensor([reference.clipped_corners(square) for square in SQUARES])
    torch.testing.assert_close(theta_to_boxes(squares_to_theta(SQUARES)), expected)
    got = outside_share(SQUARES[:, None])[:, 0]
    torch.testing.assert_close(got, SQUARES.new_tensor([reference.outside_share(s) for s in SQUARES]))
    a, b, half = SQUARES[0]
    inside = torch.stack([2 * half, 2 * half, 2 * a - 1, 2 * b - 1])
    torch.testing.assert_close(squares_to_theta(SQUARES[0]), inside)
    boxes = squares_to_boxes(SQUARES)
    torch.testing.assert_close(boxes[2], SQUARES.new_tensor([0.65, -0.2, 1.15, 0.3]))


def test_squares_of_squares():
    outer, inner = torch.tensor([[0.6, 0.3, 0.25], [0.4, 0.5, 0.2]], dtype=torch.float64)
    composed = compose_theta(squares_to_theta(outer), squares_to_theta(inner))
    expected = outer.new_tensor(reference.composed_square(outer.tolist(), inner.tolist()))
    torch.testing.assert_close(composed, squares_to_theta(expected))
    torch.testing.assert_close(expected, outer.new_tensor([0.55, 0.3, 0.1]))
    # Three levels, in either order of putting them together.
    third = squares_to_theta(outer.new_tensor([0.3, 0.7, 0.3]))
    outer, inner = squares_to_theta(outer), squares_to_theta(inner)
    torch.testing.assert_close(
        compose_theta(compose_theta(outer, inner), third), compose_theta(outer, compose_theta(inner, third))
    )


@pytest.mark.parametrize('side', [0.5, 0.3, 1.0])
@pytest.mark.parametrize('size', [(7, 7), (8, 8), (5, 9), (6, 1)], ids=str)
def test_highest_response_is_that_of_the_loop(size, side):
    torch.manual_seed(0)
    maps = torch.randint(-9, 10, (6, 3, *size)).double()  # whole numbers: sums are exact and ties occur
    got = highest_response_square(maps, side)
    expected = [reference.highest_response_square(each.numpy(), side) for each in maps]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float32))
    boxes = squares_to_boxes(got)
    assert boxes.min() >= -1e-6 and boxes.max() <= 1 + 1e-6
    assert not highest_response_square(maps.requires_grad_(), side).requires_grad


def test_highest_response_of_drawn_maps():
    """A bright 2 x 2 on 4 x 8 cells; nothing at all; what is negative does not count."""
    maps = torch.zeros(3, 2, 4, 8)
    maps[0, 1, 2:4, 4:8] = 1.0
    maps[2, 0, :2, :4] = -100.0
    maps[2, 1, 1:3, :4] = 1.0
    expected = torch.tensor([[0.75, 0.75, 0.25], [0.25, 0.25, 0.25], [0.25, 0.5, 0.25]])
    torch.testing.assert_close(highest_response_square(maps), expected)
    torch.testing.assert_close(highest_response_square(maps.half()), expected)


def test_regions_are_whole_cells_despite_rounding():
    """0.28 x 25 is 7.000000000000001 in floating point, and still seven cells."""
    assert 0.28 * 25 > 7
    maps = torch.zeros(1, 1, 25, 25)
    maps[..., 4:11, 9:16] = 1.0
    got = highest_response_square(maps, 0.28)[0].tolist()
    np.testing.assert_allclose(got, (12.5 / 25, 7.5 / 25, 0.14), atol=1e-6)

"""The soft mask, its closed-form derivatives and the gradient of the released layer, against plain loops."""

import numpy as np
import pytest
import reference.racnn as reference
import torch

from mmlattn.models.racnn.boxcar import Boxcar, boxcar_gradient, boxcar_window

# Inside; over two edges; of a few pixels.
SQUARES = torch.tensor([[0.45, 0.55, 0.3], [0.1, 0.85, 0.25], [0.6, 0.5, 0.1]], dtype=torch.float64)


def mask_and_slopes(squares, size, k):
    """M and its derivatives by a, b and l on every pixel x = 0, 1 ... W - 1, put together from both windows."""
    windows = []
    for axis, pixels in ((0, size[1]), (1, size[0])):
        places = torch.arange(pixels, dtype=squares.dtype) / pixels
        centre, half = squares[..., axis : axis + 1], squares[..., 2:]
        windows.append(boxcar_window(places, centre, half, k * pixels))
    x, x_a, x_l = (values[..., None, :] for values in windows[0])
    y, y_b, y_l = (values[..., :, None] for values in windows[1])
    return y * x, torch.stack((y * x_a, x * y_b, y * x_l + x * y_l), dim=-3)


def test_golden_values_of_the_papers_mask():
    """At k = 10 on the 448 pixels of the paper: x from 112 to 336, y alike."""
    mask, _ = mask_and_slopes(torch.tensor([0.5, 0.5, 0.25], dtype=torch.float64), (448, 448), 10.0)
    expected = {
        (224, 224): 1.0,
        (224, 112): 0.5,
        (336, 224): 0.5,
        (112, 336): 0.25,
        (224, 113): 0.9999546,
        (224, 111): 4.5398e-5,
        (0, 0): 0.0,
    }
    for (row, column), value in expected.items():
        assert mask[row, column].item() == pytest.approx(value, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize('k', [0.05, 1.0, 10.0])
@pytest.mark.parametrize('size', [(16, 16), (12, 20)], ids=str)
def test_mask_and_derivatives(size, k):
    """Of the loop in pixels, and of autograd, on a frame that need not be square."""
    height, width = size
    squares = SQUARES.clone().requires_grad_()
    mask, slopes = mask_and_slopes(squares, size, k)
    assert mask.shape == (3, *size) and slopes.shape == (3, 3, *size)
    for b, square in enumerate(SQUARES):
        values, changes = torch.empty(size, dtype=torch.float64), torch.empty(3, *size, dtype=torch.float64)
        for y in range(height):
            for x in range(width):
                values[y, x] = reference.mask(x, y, square, width, height, k)
                dx, dy, dw, dh = reference.mask_slopes(x, y, square, width, height, k)
                changes[:, y, x] = mask.new_tensor([dx * width, dy * height, dw * width + dh * height])
        torch.testing.assert_close(mask[b], values, rtol=0, atol=1e-12)
        torch.testing.assert_close(slopes[b], changes, rtol=1e-9, atol=1e-12)
    cotangent = torch.randn_like(mask)
    (by_autograd,) = torch.autograd.grad(mask, squares, cotangent)
    torch.testing.assert_close((slopes * cotangent[:, None]).sum((2, 3)), by_autograd, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize('boxcar', [Boxcar(), Boxcar(1.0, 0.1, 1.0), Boxcar(10.0, 0.0, 1e-3)], ids=str)
@pytest.mark.parametrize('parent', [(448, 448), (30, 50)], ids=str)
def test_gradient_is_that_of_the_released_layer(parent, boxcar):
    torch.manual_seed(0)
    grad = torch.randn(3, 2, 6, 7, dtype=torch.float64) * torch.tensor([1.0, 1e-6])[:, None, None]
    grad[1, 0] = 0  # one channel of one picture is silent
    got = boxcar_gradient(grad, SQUARES, parent, boxcar)
    height, width = parent
    expected = np.array(
        [
            reference.boxcar_gradient(g.numpy(), square, width, height, *boxcar)
            for g, square in zip(grad, SQUARES, strict=True)
        ]
    )
    scale = boxcar.gain * width
    np.testing.assert_allclose(got / scale, expected / scale, rtol=1e-4, atol=1e-4)


def test_defaults_are_the_released_constants():
    assert Boxcar() == (0.05, 0.005, 1e-7)


def test_only_the_pattern_of_each_picture_and_channel_counts():
    torch.manual_seed(0)
    grad, squares = torch.randn(3, 3, 8, 8), SQUARES.float()
    expected = boxcar_gradient(grad, squares, (64, 64), Boxcar())
    factors = torch.tensor([-1e3, 1e-12, 2.0])
    scaled = grad * factors[:, None, None]
    torch.testing.assert_close(boxcar_gradient(scaled, squares, (64, 64), Boxcar()), expected)
    alone = [boxcar_gradient(grad[[b]], squares[[b]], (64, 64), Boxcar()) for b in range(3)]
    torch.testing.assert_close(torch.cat(alone), expected)
    tiny = boxcar_gradient((grad / grad.abs().amax()).half(), squares, (64, 64), Boxcar())
    assert tiny.dtype == torch.float32
    torch.testing.assert_close(tiny, expected, rtol=1e-2, atol=1e-8)


def test_nothing_matters_nothing_moves():
    grad = torch.zeros(2, 3, 4, 4)
    assert torch.equal(boxcar_gradient(grad, SQUARES[:2].float(), (32, 32), Boxcar()), torch.zeros(2, 3))
    grad[1, 0, 1, 1] = 1.0
    first, second = boxcar_gradient(grad, SQUARES[:2].float(), (32, 32), Boxcar())
    assert torch.equal(first, torch.zeros(3)) and second.isfinite().all() and second.abs().max() > 0


@pytest.mark.parametrize(
    ('rows', 'columns', 'direction'),
    [
        (slice(8, 12), slice(0, 1), (-1, 0, 1)),  # what matters lies at the left edge: move left, and grow
        (slice(8, 12), slice(19, 20), (1, 0, 1)),
        (slice(0, 1), slice(8, 12), (0, -1, 1)),
        (slice(19, 20), slice(8, 12), (0, 1, 1)),
        (slice(9, 12), slice(9, 12), (0, 0, -1)),  # in the middle: shrink
    ],
    ids=['left', 'right', 'top', 'bottom', 'middle'],
)
def test_squares_go_where_it_matters(rows, columns, direction):
    grad = torch.zeros(1, 1, 20, 20)
    grad[..., rows, columns] = 1.0
    square = torch.tensor([[0.5, 0.5, 0.25]])
    step = -boxcar_gradient(grad, square, (448, 448), Boxcar(gain=1.0))[0]
    for got, sign in zip(step.tolist(), direction, strict=True):
        if sign:
            assert got * sign > 1
        else:  # the lattice of pixels starts on one edge and ends before the other
            assert abs(got) < 0.3 * step.abs().max()

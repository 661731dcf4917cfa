"""The axis-aligned spatial transformer against torch's, plain loops, pooling and closed forms."""

import pytest
import torch
import torch.nn.functional as F
from reference.st_lstm import region

from mmlattn.models.layers.spatial_transformer import (
    boxes_to_theta,
    mean_of_regions,
    sample_regions,
    theta_to_boxes,
    theta_to_grid,
)
from mmlattn.models.st_lstm.regions import region_anchors

IDENTITY = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
# Inside, sticking out, mirrored on either axis, without extent, far away; no sample on a cell's centre, where
# interpolation has a kink.
THETA = torch.tensor(
    [
        [0.5123, 0.3017, 0.2131, -0.4057],
        [0.9071, 1.3113, 0.6173, 0.3391],
        [-0.7219, 0.4127, 0.1093, 0.0571],
        [0.3779, -0.6151, -0.3011, 0.2083],
        [0.0, 0.0, 0.1327, 0.2917],
        [0.2069, 0.3023, 4.0177, -5.0119],
    ],
    dtype=torch.float64,
)
SIZES = [4, (3, 5), (1, 7), 1]


def pair(size):
    return (size, size) if isinstance(size, int) else size


def test_golden_grid_and_samples():
    theta = torch.tensor([[0.5, 0.5, 0.5, -0.5]])
    grid = theta_to_grid(theta, 4)
    assert grid.shape == (1, 4, 4, 2)
    torch.testing.assert_close(grid[0, 0, :, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(grid[0, :, 0, 1], torch.tensor([-0.875, -0.625, -0.375, -0.125]))
    x = torch.arange(16.0).view(1, 1, 4, 4)
    got = sample_regions(x, theta, 2)
    torch.testing.assert_close(got, torch.tensor([[[[2.0, 3.0], [6.0, 7.0]]]]))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_the_grid_is_that_of_affine_grid(size, align_corners):
    s_x, s_y, t_x, t_y = THETA.unbind(-1)
    zero = torch.zeros_like(s_x)
    rows = torch.stack([torch.stack([s_x, zero, t_x], -1), torch.stack([zero, s_y, t_y], -1)], -2)
    expected = F.affine_grid(rows, (len(THETA), 1, *pair(size)), align_corners=align_corners)
    torch.testing.assert_close(theta_to_grid(THETA, size, align_corners), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('padding_mode', ['zeros', 'border'])
@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_samples_are_those_of_the_loop(size, align_corners, padding_mode):
    """Values, and gradients to the map and to theta, on a map that is not square."""
    torch.manual_seed(0)
    x = torch.randn(len(THETA), 2, 5, 8, dtype=torch.float64, requires_grad=True)
    theta = THETA.clone().requires_grad_()
    options = dict(align_corners=align_corners, padding_mode=padding_mode)
    got = sample_regions(x, theta, size, **options)
    expected = torch.stack([region(x[b], theta[b], pair(size), **options) for b in range(len(x))])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(got)
    ours = torch.autograd.grad(got, (x, theta), cotangent)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, theta), cotangent), rtol=0, atol=1e-11)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_means_are_those_of_the_samples(size, align_corners):
    """Also on the centres of cells, where interpolation has a kink and takes the cell behind."""
    torch.manual_seed(0)
    on_centres = torch.tensor([[0.5, 0.4, 0.125, 0.0], [1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    theta = torch.cat((THETA, on_centres)).requires_grad_()
    x = torch.randn(len(theta), 3, 5, 8, dtype=torch.float64, requires_grad=True)
    got = mean_of_regions(x, theta, size, align_corners)
    expected = sample_regions(x, theta, size, align_corners).mean(dim=(-2, -1))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    cotangent = torch.randn_like(got)
    ours = torch.autograd.grad(got, (x, theta), cotangent)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, (x, theta), cotangent), rtol=0, atol=1e-11)


def test_identity_copies_pools_and_anchors_cut_quadrants():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 28, 28, dtype=torch.float64)
    close = dict(rtol=0, atol=1e-6)
    torch.testing.assert_close(sample_regions(x, IDENTITY, 28), x, **close)
    torch.testing.assert_close(sample_regions(x, IDENTITY, 14), F.avg_pool2d(x, 2), **close)
    wide = torch.randn(1, 3, 5, 9, dtype=torch.float64)
    for align_corners in (False, True):
        copy = sample_regions(wide, IDENTITY, (5, 9), align_corners=align_corners)
        torch.testing.assert_close(copy, wide, **close)
    quadrants = [x[..., 14:, 14:], x[..., 14:, :14], x[..., :14, :14], x[..., :14, 14:]]
    for centre, quadrant in zip(region_anchors(5)[0][1:].double(), quadrants, strict=True):
        theta = torch.cat([torch.full((2,), 0.5, dtype=torch.float64), centre])[None]
        torch.testing.assert_close(sample_regions(x, theta, 14), quadrant, rtol=0, atol=1e-5)


def test_negative_scales_mirror():
    x = torch.randn(2, 3, 6, 7)
    theta = torch.tensor([[0.6, 0.4, 0.1, -0.2]]).expand(2, 4)
    plain = sample_regions(x, theta, 5)
    for signs, axes in (([-1, 1], [3]), ([1, -1], [2]), ([-1, -1], [2, 3])):
        mirrored = sample_regions(x, theta * torch.tensor([*signs, 1, 1]), 5)
        torch.testing.assert_close(mirrored, plain.flip(axes))


def test_boxes_in_fractions_of_the_map():
    theta = torch.tensor([[0.5, 0.5, 0.5, -0.5], [-1.0, 0.5, 0.0, 0.0], [1.5, 0.25, 0.5, -1.0]])
    golden = torch.tensor([[224.0, 0, 448, 224], [0, 112, 448, 336], [0, -56, 672, 56]])
    torch.testing.assert_close(theta_to_boxes(theta), golden / 448)
    torch.testing.assert_close(theta_to_boxes(theta[None]), golden[None] / 448)


def test_boxes_and_theta_are_inverse():
    theta = torch.rand(3, 2, 4, dtype=torch.float64) + 0.05
    torch.testing.assert_close(boxes_to_theta(theta_to_boxes(theta)), theta, rtol=0, atol=1e-12)
    mirrored = theta * torch.tensor([-1, -1, 1, 1])
    torch.testing.assert_close(boxes_to_theta(theta_to_boxes(mirrored)), theta)


def test_box_edges_are_where_samples_end():
    """The outermost samples lie on the box with aligned corners, half a cell of the region inside without."""
    theta = THETA[:2]
    x0, y0, x1, y1 = (theta_to_boxes(theta) * 2 - 1).unbind(-1)
    for align_corners, inset in ((True, 0.0), (False, 1 / 5)):
        grid = theta_to_grid(theta, 5, align_corners)
        torch.testing.assert_close(grid[:, 0, 0, 0], x0 + inset * theta[:, 0])
        torch.testing.assert_close(grid[:, 0, 0, 1], y0 + inset * theta[:, 1])
        torch.testing.assert_close(grid[:, -1, -1, 0], x1 - inset * theta[:, 0])
        torch.testing.assert_close(grid[:, -1, -1, 1], y1 - inset * theta[:, 1])


@pytest.mark.parametrize(
    'function',
    [
        lambda theta: theta_to_grid(theta, (2, 3)),
        lambda theta: theta_to_grid(theta, 3, True),
        theta_to_boxes,
        boxes_to_theta,
    ],
    ids=['grid', 'grid-aligned', 'boxes', 'theta'],
)
def test_gradients(function):
    assert torch.autograd.gradcheck(function, THETA[:4].clone().requires_grad_())


def test_gradients_of_samples():
    x = torch.randn(4, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    theta = THETA[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, theta: sample_regions(x, theta, (3, 2)), (x, theta))


@pytest.mark.parametrize('scale', [1e4, -1e4, 0.0])
def test_extreme_regions_are_finite(scale):
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    theta = torch.tensor([[scale, scale, 1e4, -1e4]], requires_grad=True)
    out = sample_regions(x, theta, 3)
    torch.testing.assert_close(mean_of_regions(x, theta, 3), out.mean(dim=(-2, -1)))
    (out.sum() + mean_of_regions(x, theta, 3).sum() + theta_to_boxes(theta).sum()).backward()
    assert out.isfinite().all() and x.grad.isfinite().all() and theta.grad.isfinite().all()


def test_grid_keeps_single_precision_under_autocast():
    """Half the bits of a bfloat16 grid are gone: 0.004 between neighbours at the border."""
    theta, x = THETA[:3].float(), torch.randn(3, 2, 8, 8)
    expected = sample_regions(x, theta, 5)
    with torch.autocast('cpu', torch.bfloat16):
        grid = theta_to_grid(theta, 5)
        out = sample_regions(x, theta, 5)
        mean = mean_of_regions(x, theta, 5)
    torch.testing.assert_close(mean, expected.mean(dim=(-2, -1)), rtol=1e-5, atol=1e-6)
    assert grid.dtype == torch.float32
    assert torch.equal(grid, theta_to_grid(theta, 5))
    torch.testing.assert_close(out.float(), expected, rtol=1e-6, atol=1e-6)

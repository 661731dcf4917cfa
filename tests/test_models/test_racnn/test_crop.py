"""The crop: against plain loops, OpenCV, slicing and pooling; both gradients; one graph for any batch."""

import numpy as np
import pytest
import reference.racnn as reference
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmlattn.models.layers.spatial_transformer import compose_theta, sample_regions
from mmlattn.models.racnn.boxcar import Boxcar, boxcar_gradient
from mmlattn.models.racnn.crop import LossScale, attention_crop, whole_picture, zoom
from mmlattn.models.racnn.squares import squares_to_theta

# Inside, smaller, over two edges, over one; no sample on a pixel's centre, where interpolation has a kink.
SQUARES = torch.tensor(
    [[0.4517, 0.5231, 0.3019], [0.6113, 0.3391, 0.1173], [0.1317, 0.8719, 0.2711], [0.7123, 0.4177, 0.3313]],
    dtype=torch.float64,
)


def pictures(batch, height, width, channels=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, height, width, generator=generator, dtype=dtype)


@pytest.mark.parametrize('size', [5, (4, 6), (1, 9)], ids=str)
@pytest.mark.parametrize('frame', [(8, 8), (7, 11)], ids=str)
def test_values_and_gradients_are_those_of_the_loop(frame, size):
    """What sticks out is cut off and stretched, as in the released layer."""
    x, squares = pictures(4, *frame).requires_grad_(), SQUARES.clone().requires_grad_()
    got = attention_crop(x, squares, size)
    pair = (size, size) if isinstance(size, int) else size
    looped = [reference.crop(x[b], squares[b], pair, clip=True) for b in range(4)]
    torch.testing.assert_close(got, torch.stack(looped), rtol=0, atol=1e-12)
    cotangent = torch.randn_like(got)
    expected = torch.autograd.grad(torch.stack(looped), (x, squares), cotangent)
    torch.testing.assert_close(
        torch.autograd.grad(got, (x, squares), cotangent), expected, rtol=0, atol=1e-10
    )


def test_gradients_are_finite_differences():
    x = pictures(4, 5, 6, 1).requires_grad_()
    crop = lambda x, squares: attention_crop(x, squares, (3, 4))  # noqa: E731
    assert torch.autograd.gradcheck(crop, (x, SQUARES.clone().requires_grad_()))


@pytest.mark.parametrize(('x0', 'y0', 'side'), [(20, 9, 64), (0, 32, 96), (30, 40, 41)])
def test_half_pixels_are_those_of_opencv(x0, y0, side):
    """But on the outermost rows and columns, where OpenCV repeats the crop's edge and we read its neighbours."""
    x = pictures(1, 128, 128, 3, torch.float32)
    square = torch.tensor([reference.integer_square(x0, y0, side, 128, 128)])
    got = attention_crop(x, square, 112)[0].numpy()
    expected = reference.cv2_crop(x[0].numpy(), x0, y0, x0 + side, y0 + side, (112, 112))
    # Rows whose samples lie outside the outermost centres of the crop.
    inset = int(np.ceil(112 / side / 2 - 0.5))
    inside = (slice(None), slice(inset, 112 - inset), slice(inset, 112 - inset))
    assert np.abs(got[inside] - expected[inside]).max() < 1e-4
    double = attention_crop(x.double(), square.double(), 112)[0].numpy()
    assert np.abs(double[inside] - expected[inside]).max() < 5e-7
    if inset:
        assert np.abs(got - expected).max() > 0.01


@pytest.mark.parametrize(('x0', 'y0', 'x1', 'y1'), [(3, 5, 27, 29), (0, 0, 32, 32), (10, 2, 31, 23)])
def test_aligned_corners_are_those_of_a_slice(x0, y0, x1, y1):
    x = pictures(1, 32, 32)
    theta = [(x1 - 1 - x0) / 31, (y1 - 1 - y0) / 31, (x0 + x1 - 1) / 31 - 1, (y0 + y1 - 1) / 31 - 1]
    square = x.new_tensor([[(theta[2] + 1) / 2, (theta[3] + 1) / 2, theta[0] / 2]])
    expected = reference.aligned_crop(x[0], x0, y0, x1, y1, (17, 17))
    for region in (x.new_tensor([theta]), squares_to_theta(square)):
        got = sample_regions(x, region, 17, align_corners=True, padding_mode='border')
        torch.testing.assert_close(got[0], expected, rtol=0, atol=2e-13)


def test_the_whole_at_its_own_size_is_the_picture():
    x = pictures(2, 9, 14)
    full = torch.full((2, 3), 0.5, dtype=torch.float64)
    for grad in ('sampler', 'boxcar'):
        torch.testing.assert_close(attention_crop(x, full, (9, 14), grad), x, rtol=0, atol=1e-14)
    assert torch.equal(whole_picture(x), squares_to_theta(full))
    assert whole_picture(x.half()).dtype == torch.float32


@pytest.mark.parametrize('grad', ['sampler', 'boxcar'])
def test_crop_of_a_crop_in_one_step(grad):
    """On a ramp, which interpolation keeps exactly: the same as zooming in twice."""
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing='ij')
    x = torch.stack([rows, columns, 2 * rows - columns])[None].double()
    outer, inner = x.new_tensor([[0.55, 0.45, 0.3]]), x.new_tensor([[0.4, 0.6, 0.25]])
    chained = attention_crop(attention_crop(x, outer, (20, 30)), inner, (10, 12), grad)
    theta = compose_theta(squares_to_theta(outer), squares_to_theta(inner))
    composed = attention_crop(x, inner, (10, 12), grad, theta=theta)
    torch.testing.assert_close(composed, chained, rtol=0, atol=1e-12)
    a, b, half = reference.composed_square(outer[0].tolist(), inner[0].tolist())
    assert composed[0, 1, 0, 0].item() == pytest.approx((a - half) * 64 + half * 64 / 12 - 0.5)
    assert composed[0, 0, 0, 0].item() == pytest.approx((b - half) * 48 + half * 48 / 10 - 0.5)


def test_squares_in_a_part_of_the_picture_get_their_share_of_the_gradient():
    x, inner = pictures(4, 16, 16), SQUARES.clone().requires_grad_()
    outer = squares_to_theta(SQUARES.flip(0))
    crop = lambda inner: attention_crop(x, inner, 5, theta=compose_theta(outer, squares_to_theta(inner)))  # noqa: E731
    crop(inner).sum().backward()
    assert inner.grad.abs().min() > 0
    assert torch.autograd.gradcheck(crop, inner.detach().requires_grad_())


def test_a_sharp_mask_changes_nothing_but_the_border():
    """X * M zoomed in on is X zoomed in on, more than three pixels inside: the mask needs no forward pass."""
    x, square = 1 + pictures(1, 64, 64), torch.tensor([[0.52, 0.47, 0.3]], dtype=torch.float64)
    masked = x * reference.mask_picture(square[0], 64, 64, 10.0)
    difference = (attention_crop(masked, square, 48) - attention_crop(x, square, 48)).abs().amax((0, 1))
    pixel = 2 * 0.3 * 64 / 48
    inset = int(np.ceil(3 / pixel - 0.5))
    assert difference[inset : 48 - inset, inset : 48 - inset].max() < 2e-9
    assert difference[0].max() > 0.1


@pytest.mark.parametrize('factor', [2, 4])
def test_antialiased_zooming_out_is_pooling(factor):
    x = pictures(2, 16, 24)
    full = torch.full((2, 3), 0.5, dtype=torch.float64)
    got = attention_crop(x, full, (16 // factor, 24 // factor), antialias=True)
    torch.testing.assert_close(got, F.avg_pool2d(x, factor), rtol=0, atol=1e-12)


def test_antialiasing_blends_halved_pictures():
    """Each picture by how far it is zoomed out: three pixels to one lie 0.585 between two and four; in: untouched."""
    x = pictures(3, 24, 24).requires_grad_()
    squares = torch.tensor([[0.5, 0.5, 0.5], [0.45, 0.6, 0.15], [0.5, 0.4, 0.25]], dtype=torch.float64)
    got = attention_crop(x, squares, 8, antialias=True)
    once, twice = F.avg_pool2d(x, 2), F.avg_pool2d(x, 4)
    three = [reference.crop(level[0], squares[0], (8, 8)) for level in (once, twice)]
    torch.testing.assert_close(got[0], torch.lerp(*three, np.log2(3) - 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(got[1], reference.crop(x[1], squares[1], (8, 8)), rtol=0, atol=1e-12)
    halves = [reference.crop(level[2], squares[2], (8, 8)) for level in (x, once)]
    torch.testing.assert_close(got[2], torch.lerp(*halves, np.log2(1.5)), rtol=0, atol=1e-12)


def test_antialiasing_goes_by_the_axis_that_shrinks_more():
    """Four pixels to one along x, one to four along y."""
    x = pictures(1, 16, 16)
    got = zoom(x, x.new_tensor([[1.0, 0.25, 0.0, 0.1]]), (16, 4), antialias=True)
    rows = reference.interpolation_weights(0.425, 0.675, 16, 4)
    torch.testing.assert_close(got[0], rows @ F.avg_pool2d(x, 4)[0], rtol=0, atol=1e-12)


def test_halves_of_odd_sides_keep_the_frame():
    """Half of 9 x 15 cells is 5 x 8 that cover it evenly, each the mean of the cells it touches."""
    x = pictures(1, 9, 15)
    full = torch.full((1, 3), 0.5, dtype=torch.float64)
    got = attention_crop(x, full, (5, 8), antialias=True)
    half = torch.empty(2, 5, 8, dtype=torch.float64)
    for i in range(5):
        for j in range(8):
            rows, columns = slice(i * 9 // 5, -(-(i + 1) * 9 // 5)), slice(j * 15 // 8, -(-(j + 1) * 15 // 8))
            half[:, i, j] = x[0, :, rows, columns].mean((1, 2))
    plain = reference.crop(x[0], full[0], (5, 8))
    torch.testing.assert_close(got[0], torch.lerp(plain, half, np.log2(15 / 8)), rtol=0, atol=1e-12)


def test_boxcar_lends_its_gradient():
    """The crop and the gradient by the picture are the sampler's, that by the square the released layer's."""
    x, squares = pictures(4, 12, 20).requires_grad_(), SQUARES.clone().requires_grad_()
    boxcar = Boxcar(0.3, 0.02, 1e-2)
    weights = torch.randn(4, 2, 5, 6, dtype=torch.float64)
    got = attention_crop(x, squares, (5, 6), 'boxcar', boxcar)
    plain = attention_crop(x, squares, (5, 6))
    assert torch.equal(got, plain)
    grad_x, grad_squares = torch.autograd.grad((got * weights).sum(), (x, squares))
    torch.testing.assert_close(grad_x, torch.autograd.grad((plain * weights).sum(), x)[0], rtol=0, atol=1e-13)
    loops = [
        reference.boxcar_gradient(g.numpy(), square, 20, 12, *boxcar)
        for g, square in zip(weights, SQUARES, strict=True)
    ]
    torch.testing.assert_close(grad_squares, squares.new_tensor(np.array(loops)), rtol=1e-4, atol=1e-7)
    # In a frame that was looked at in other pixels than the picture's.
    frame = dict(theta=squares_to_theta(squares), frame_size=(30, 40))
    framed = attention_crop(x, squares, (5, 6), 'boxcar', boxcar, **frame)
    (got,) = torch.autograd.grad((framed * weights).sum(), squares)
    torch.testing.assert_close(got.float(), boxcar_gradient(weights, SQUARES, (30, 40), boxcar))
    with torch.no_grad():
        assert not attention_crop(x, squares, 5, 'boxcar').requires_grad


def test_boxcar_follows_the_factor_of_the_loss():
    """Of loss scaling and accumulation, by which the optimizer divides or averages again; and its own weight."""
    x, squares = pictures(4, 12, 12), SQUARES.clone().requires_grad_()

    def gradient(factor, weight):
        scale = LossScale(weight)
        loss = attention_crop(x, squares, 5, 'boxcar', loss_scale=scale).square().mean()
        scale.watch(loss)
        return torch.autograd.grad(loss * factor, squares)[0]

    torch.testing.assert_close(gradient(1024.0, 1.0), 1024 * gradient(1.0, 1.0))
    torch.testing.assert_close(gradient(0.5, 3.0), 1.5 * gradient(1.0, 1.0))
    plain = torch.autograd.grad(attention_crop(x, squares, 5, 'boxcar').square().mean(), squares)[0]
    torch.testing.assert_close(gradient(1.0, 1.0), plain)


@pytest.mark.parametrize('grad', ['sampler', 'boxcar'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_keeps_the_place(dtype, grad):
    """A sample is where it is in single precision; only pixels are rounded."""
    x, squares = pictures(4, 64, 64).to(dtype), SQUARES.float()
    expected = attention_crop(x.float(), squares, 16, grad)
    with torch.autocast('cpu', torch.bfloat16):
        got = attention_crop(x, squares, 16, grad)
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected.to(dtype), rtol=0, atol=0)


class Operators(TorchDispatchMode):
    """Names of the operators that ran."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **kwargs or {})


@pytest.mark.parametrize('antialias', [False, True])
@pytest.mark.parametrize('grad', ['sampler', 'boxcar'])
def test_no_loop_over_pictures_and_no_value_is_read(grad, antialias):
    ran = []
    for batch in (1, 7):
        squares = torch.rand(batch, 3).requires_grad_()
        x = torch.rand(batch, 3, 16, 16, requires_grad=True)
        with Operators() as mode:
            attention_crop(x, squares, 4, grad, antialias=antialias).sum().backward()
        ran.append(mode.names)
    assert ran[0] == ran[1]
    assert not [name for name in ran[0] if '_local_scalar_dense' in name or 'nonzero' in name]


@pytest.mark.export
@pytest.mark.parametrize(('grad', 'antialias'), [('sampler', True), ('boxcar', False)])
def test_compiles_without_graph_breaks(grad, antialias):
    torch._dynamo.reset()

    def step(x, squares):
        return attention_crop(x, squares, (5, 6), grad, antialias=antialias)

    outputs = []
    for crop in (step, torch.compile(step, fullgraph=True, backend='aot_eager')):
        x, squares = pictures(4, 12, 20).requires_grad_(), SQUARES.clone().requires_grad_()
        got = crop(x, squares)
        outputs.append((got, *torch.autograd.grad(got.square().sum(), (x, squares))))
    torch.testing.assert_close(*outputs)

"""The soft mask, its activations and its fusion with the trunk, against an independent reference and closed forms."""

from itertools import product

import pytest
import torch
from reference.ran import Net, activate, assert_same, interpolation_matrix, mask_head, mask_logits, randomise
from torch import nn

from mmlattn.models.ran.attention_module import FUSIONS
from mmlattn.models.ran.residual_units import PreActUnit, ResidualUnit, ResNeXtUnit
from mmlattn.models.ran.soft_mask import (
    MASK_ACTIVATIONS,
    EncoderDecoder,
    MaskHead,
    SoftMask,
    channel_attention,
    pooling,
    spatial_attention,
)

F64 = torch.float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small_resnext(c_in, channels):
    return ResNeXtUnit(c_in, channels, groups=2)


def make_mask(channels=4, depth=2, r=1, **kwargs):
    """In double precision, as the reference."""
    unit = kwargs.setdefault('unit', PreActUnit)
    kwargs.setdefault('preactivation', unit is PreActUnit)
    return randomise(SoftMask(channels, depth, r, norm=nn.BatchNorm2d, **kwargs)).to(F64)


def compare(mask, depth, r=1, unit='preact', size=(17, 23), rtol=1e-9, **wiring):
    """The module and the reference on one batch: mask, all gradients, running statistics."""
    named = nn.ModuleDict(dict(mask=mask))
    net = Net(named.state_dict(), unit, groups=2, training=True, **wiring)
    channels = mask.head.conv2.out_channels
    inputs = [torch.randn(2, channels, *size, dtype=F64, requires_grad=True) for _ in range(2)]
    twins = [x.detach().clone().requires_grad_() for x in inputs]
    out = mask(*inputs)
    expected = activate(net, mask_logits(net, 'mask', *twins, depth, r))
    assert all(torch.equal(x, y) for x, y in zip(inputs, twins, strict=True))  # nothing worked in place
    pairs = list(zip(inputs, twins, strict=True))[: None if wiring.get('port') and depth else 1]
    assert_same(named, [out], net, [expected], pairs, rtol=rtol, atol=rtol)
    return inputs, out


@pytest.mark.parametrize('depth, r', list(product(range(4), (1, 2, 3))))
def test_equals_the_reference(depth, r):
    """Either skip, pooling and alignment, at a size odd at every level."""
    for port, caffe, align_corners in product((False, True), repeat=3):
        mask = make_mask(
            depth=depth,
            r=r,
            skip='port' if port else 'official',
            pool_style='caffe' if caffe else 'torch',
            align_corners=align_corners,
        )
        inputs, _ = compare(mask, depth, r, port=port, caffe=caffe, align_corners=align_corners)
        # The trunk's values matter where a port adds them and nowhere else.
        assert (inputs[1].grad is not None) == (port and depth > 0)


@pytest.mark.parametrize('attention', MASK_ACTIVATIONS)
@pytest.mark.parametrize('depth', [0, 2])
def test_equals_the_reference_with_post_activated_units(attention, depth):
    mask = make_mask(8, depth, unit=small_resnext, attention=attention)
    # Channel and spatial attention are computed in single precision, whatever the input's.
    compare(mask, depth, unit='resnext', attention=attention, rtol=1e-9 if attention == 'mixed' else 1e-4)


def test_without_sampling_three_units_at_the_resolution_of_the_trunk():
    mask = make_mask(depth=3, structure='conv', skip='port', pool_style='caffe')
    assert not any(isinstance(m, nn.MaxPool2d) for m in mask.modules())
    inputs, _ = compare(mask, depth=3, port=True)
    assert inputs[1].grad is None


@pytest.mark.parametrize('depth, r', [(3, 1), (2, 1), (1, 1), (0, 1), (3, 3), (1, 2)])
def test_number_of_units(depth, r):
    """There are r on the way down, 2r at the bottom, r on the way up, one on each skip."""
    levels = max(depth - 1, 0)
    units = [m for m in make_mask(depth=depth, r=r).modules() if isinstance(m, ResidualUnit)]
    assert len(units) == 2 * r + levels * (2 * r + 1)


def test_port_and_official_differ_only_in_function():
    official, port = make_mask(skip='official').eval(), make_mask(skip='port').eval()
    port.load_state_dict(official.state_dict())
    x, trunk = torch.randn(2, 1, 4, 16, 16, dtype=F64)
    assert (official(x, trunk) - port(x, trunk)).abs().max() > 1e-3


@pytest.mark.parametrize('preactivation', [False, True])
def test_a_narrow_mask(preactivation):
    """Fewer channels inside: one 1x1 convolution in, the head back out."""
    unit = PreActUnit if preactivation else small_resnext
    mask = make_mask(16, 2, unit=unit, width=8).eval()
    net = Net(
        {f'mask.{k}': v for k, v in mask.state_dict().items()}, 'preact' if preactivation else 'resnext', 2
    )
    x, trunk = torch.randn(2, 2, 16, 9, 7, dtype=F64)
    entered = net.conv('mask.enter', x)
    assert entered.shape[1] == 8
    expected = mask_logits(net, 'mask', entered, trunk, 2, 1).sigmoid()
    torch.testing.assert_close(mask(x, trunk), expected)
    assert {m.in_channels for m in mask.body.modules() if isinstance(m, nn.Conv2d)} <= {2, 4, 8}
    full = make_mask(16, 2, unit=unit)
    assert sum(p.numel() for p in mask.parameters()) < 0.4 * sum(p.numel() for p in full.parameters())


# --- activations and fusion


@pytest.mark.parametrize(
    'attention, logits, expected',
    [
        ('mixed', [[0.0, 2.0], [-2.0, 30.0]], [[0.5, 0.8807970780], [0.1192029220, 1.0]]),
        ('channel', [[3.0, 0.0], [4.0, -5.0]], [[0.6, 0.0], [0.8, -1.0]]),
        # Channel 0 has mean 2 and deviation 2, channel 1 is 0 everywhere.
        ('spatial', [[0.0, 4.0], [0.0, 0.0]], [[0.2689414214, 0.7310585786], [0.5, 0.5]]),
    ],
)
def test_activations_by_hand(attention, logits, expected):
    """Two channels at two positions."""
    x = torch.tensor(logits).reshape(1, 2, 1, 2)
    out = MASK_ACTIVATIONS[attention](x)
    torch.testing.assert_close(out, torch.tensor(expected).reshape(1, 2, 1, 2), rtol=0, atol=1e-5)


def test_channel_attention_has_unit_norm_everywhere():
    x = torch.randn(3, 6, 4, 5) * torch.logspace(-3, 3, 5)
    torch.testing.assert_close(channel_attention(x).square().sum(1), torch.ones(3, 4, 5))


def test_spatial_attention_forgets_scale_and_shift_of_each_channel_and_sample():
    x = 3 * torch.randn(3, 6, 4, 5)
    scale, shift = 1 + 9 * torch.rand(3, 6, 1, 1), 10 * torch.randn(3, 6, 1, 1)
    torch.testing.assert_close(spatial_attention(x * scale + shift), spatial_attention(x), rtol=0, atol=1e-4)
    alone = torch.stack([spatial_attention(sample[None])[0] for sample in x])
    torch.testing.assert_close(spatial_attention(x), alone)


@pytest.mark.parametrize('attention', MASK_ACTIVATIONS)
def test_activations_in_low_precision(attention):
    """The type stays, and the error is that of rounding the result: no overflow in half precision."""
    exact = 300 * torch.randn(2, 8, 16, 16)
    for dtype in (torch.float16, torch.bfloat16):
        x = exact.to(dtype)
        out = MASK_ACTIVATIONS[attention](x)
        assert out.dtype == dtype
        torch.testing.assert_close(out, MASK_ACTIVATIONS[attention](x.double()).to(dtype), rtol=0, atol=4e-3)


def test_fusions():
    trunk, mask = torch.tensor([2.0, -3.0]), torch.tensor([0.25, 1.0])
    kept = trunk.clone(), mask.clone()
    assert FUSIONS['arl'](trunk, mask).tolist() == [2.5, -6.0]
    assert FUSIONS['nal'](trunk, mask).tolist() == [0.5, -3.0]
    assert torch.equal(trunk, kept[0])
    assert torch.equal(mask, kept[1])


@pytest.mark.parametrize('learning', FUSIONS)
@pytest.mark.parametrize('needs', [(True, True), (True, False), (False, True)])
def test_gradients_of_fusions(learning, needs):
    """First and second derivatives against finite differences; without them the same values."""
    inputs = [torch.rand(2, 3, 2, 2, dtype=F64, requires_grad=need) for need in needs]
    assert torch.autograd.gradcheck(FUSIONS[learning], inputs)
    assert torch.autograd.gradgradcheck(FUSIONS[learning], inputs)
    with torch.no_grad():
        plain = FUSIONS[learning](*inputs)
    assert torch.equal(plain, FUSIONS[learning](*inputs))


def test_gradients_of_fusions_in_mixed_precision():
    """Under autocast the trunk may be a sum in single precision and the mask low."""
    trunk = torch.randn(2, 3, 4, 4, requires_grad=True)
    mask = torch.rand(2, 3, 4, 4).bfloat16().requires_grad_()
    out = FUSIONS['arl'](trunk, mask)
    torch.testing.assert_close(out, (1 + mask.float()) * trunk)
    grads = torch.autograd.grad(out.sum(), [trunk, mask])
    assert [g.dtype for g in grads] == [torch.float32, torch.bfloat16]
    torch.testing.assert_close(grads[0], 1 + mask.float())
    torch.testing.assert_close(grads[1], trunk.bfloat16())


# --- sampling


def test_pooling_by_hand():
    x = torch.tensor([5.0, 1, 2, 3, 9]).expand(1, 1, 5, 5)
    # Windows at -1, 1, 3 against 0, 2.
    assert pooling('torch')(x)[0, 0, 0].tolist() == [5, 3, 9]
    assert pooling('caffe')(x)[0, 0, 0].tolist() == [5, 9]


@pytest.mark.parametrize('size', range(2, 41))
def test_pooled_sizes(size):
    """Caffe's rule is ceil((size - 3) / 2) + 1; even sizes are halved by either."""
    x = torch.empty(1, 1, size, 41, device='meta')
    assert pooling('torch')(x).shape[2:] == ((size + 1) // 2, 21)
    assert pooling('caffe')(x).shape[2:] == (-(-(size - 3) // 2) + 1, 20)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('sizes', [((1, 2), (3, 5)), ((4, 3), (7, 6)), ((5, 5), (5, 5)), ((3, 3), (1, 2))])
def test_resize(sizes, align_corners):
    body = EncoderDecoder(4, 2, unit=PreActUnit, align_corners=align_corners)
    x = torch.randn(2, 4, *sizes[0], dtype=F64)
    rows, columns = (interpolation_matrix(a, b, align_corners) for a, b in zip(*sizes, strict=True))
    torch.testing.assert_close(body.resize(x, torch.empty(1, 9, *sizes[1])), rows @ x @ columns.T)


def test_aligned_corners_keep_the_corners():
    x = torch.randn(1, 4, 3, 4)
    like = torch.empty(1, 1, 8, 5)
    resized = EncoderDecoder(4, 1, unit=PreActUnit).resize(x, like)
    torch.testing.assert_close(
        resized[..., [0, 0, -1, -1], [0, -1, 0, -1]], x[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    )


# --- the head


@pytest.mark.parametrize('preactivation', [False, True])
def test_head(preactivation):
    head = randomise(MaskHead(6, 4, norm=nn.BatchNorm2d, preactivation=preactivation)).to(F64)
    named = nn.ModuleDict(dict(head=head))
    net = Net(named.state_dict(), 'preact' if preactivation else 'resnext', training=True)
    x = torch.randn(2, 6, 5, 3, dtype=F64)
    assert_same(named, [head(x)], net, [mask_head(net, 'head', x)])
    assert head(x).shape == (2, 4, 5, 3)


@pytest.mark.parametrize('bias', [-2.0, 0.0])
def test_zero_logits_with_a_bias(bias):
    """After ``init_logits(zero=True)`` the mask is sigmoid(bias) everywhere."""
    mask = make_mask(bias=bias)
    mask.head.init_logits(zero=True)
    x = torch.randn(2, 4, 8, 8, dtype=F64)
    expected = torch.full_like(x, 1 / (1 + 2.718281828459045**-bias))
    torch.testing.assert_close(mask(x, x), expected, rtol=1e-12, atol=0)
    mask.head.init_logits(zero=False)
    assert mask.head.conv2.bias.tolist() == [bias] * 4
    assert make_mask().head.conv2.bias is None

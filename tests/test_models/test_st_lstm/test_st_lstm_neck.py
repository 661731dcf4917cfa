"""The ST-LSTM neck against the equations, with stock heads, and under autocast."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from reference.st_lstm import Reference, anchor
from torch import nn

from mmlattn.models import STLSTM

TINY = dict(in_channels=3, embed_dims=6, hidden_dims=5, out_dims=7, region_size=4)
FIELDS = ('step_feats', 'theta', 'anchors', 'anchor_mask', 'pooled')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(**options):
    return STLSTM(**(TINY | options))


def trained(neck, spread=0.5):
    """Weights as if trained: regions of all sizes and places, some sticking out."""
    with torch.no_grad():
        for parameter in neck.parameters():
            parameter.normal_(0, spread)
    return neck.double()


CASES = {
    'default': {},
    'one region': dict(num_steps=1),
    'gap': dict(region_embed='gap', region_pool=None, region_size=3, embed_dims=3),
    'conv': dict(region_embed='conv', region_size=6),
    'tanh, aligned': dict(cell_out='tanh', align_corners=True, region_pool='avg'),
    'residual': dict(loc_param='residual_anchor', anchor=dict(radius=0.4, start_angle=1.0)),
    'bounded': dict(loc_param='bounded', scale_range=(0.2, 0.9), num_steps=3),
    'global': dict(include_global=True, num_steps=2),
    'fc, unpooled': dict(region_pool=None, region_size=5, num_steps=3),
}


@pytest.mark.parametrize('options', CASES.values(), ids=CASES)
def test_equals_the_equations(options):
    """Outputs, and gradients of every weight and of a map that is not square, image by image."""
    neck = trained(make(**options))
    reference = Reference(dict(neck.named_parameters()), **(dict(region_size=4) | options))
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    out = neck((x,))
    step_feats, theta = reference.neck(twin)
    expected = (step_feats, theta, step_feats.amax(1))
    got = (out.step_feats, out.theta, out.pooled)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    cotangents = [torch.randn_like(t) for t in got]
    torch.autograd.backward(got, cotangents)
    torch.autograd.backward(expected, cotangents)
    torch.testing.assert_close(x.grad, twin.grad, rtol=1e-7, atol=1e-8)
    for name, parameter in neck.named_parameters():
        grad = reference.weights[name].grad
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-7, atol=1e-8, msg=name)


@pytest.mark.parametrize('options', CASES.values(), ids=CASES)
def test_regions_may_be_placed_by_others(options):
    """Where it looked itself, all is as it was; elsewhere it is another neck's that looks there by itself."""
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    start = make(**options).double()
    torch.testing.assert_close(start.start_places().expand(2, -1, -1), start(x).theta, check_dtype=False)
    neck = trained(make(**options))
    own = neck(x)
    torch.testing.assert_close(neck(x, own.theta), own, rtol=0, atol=0)
    places = start.start_places().expand(2, -1, -1)
    still = neck(x, places)
    torch.nn.init.zeros_(neck.loc.weight)
    neck.loc.bias.data.copy_(start.loc.bias)
    torch.testing.assert_close(still.step_feats, neck(x).step_feats, rtol=0, atol=1e-6)
    assert not torch.equal(still.step_feats, own.step_feats)


@pytest.mark.parametrize('first', ['none', 'center'])
def test_output_fields(first):
    out = make(anchor=dict(first=first), include_global=True)(torch.rand(2, 3, 5, 8))
    assert out._fields == FIELDS and out[-1] is out.pooled
    assert [tuple(t.shape) for t in out] == [(2, 6, 7), (2, 5, 4), (2, 5, 2), (2, 5), (2, 7)]
    expected = torch.tensor([anchor(k, 5) for k in range(1, 6)])
    torch.testing.assert_close(out.anchors, expected.expand(2, 5, 2))
    assert out.anchor_mask.tolist() == [[first == 'center', True, True, True, True]] * 2


def test_checkpoint_names():
    assert {name for name, _ in make().named_parameters()} == {
        'embed.weight', 'embed.bias', 'cell.input.weight', 'cell.input.bias', 'cell.hidden.weight',
        'z.weight', 'z.bias', 'loc.weight', 'loc.bias',
    }  # fmt: skip
    assert not any(name.startswith('embed') for name, _ in make(region_embed='gap').named_parameters())


def test_default_size_is_that_of_vgg16():
    with torch.device('meta'):
        neck = STLSTM(512)
    assert neck.embed.weight.shape == (4096, 25088)
    assert neck.cell.input.weight.shape == (2048, 4096) and neck.z.weight.shape == (512, 512)
    assert neck.loc.weight.shape == (4, 512) and neck.num_steps == 5


def test_step_0_moves_the_first_region_and_no_more():
    """K + 1 passes give K looks. With states forgotten and regions fixed, looks are alike and unlike the first."""
    neck, single = trained(make()), trained(make(num_steps=1))
    hidden = TINY['hidden_dims']
    with torch.no_grad():
        for parameter in (neck.loc.weight, neck.cell.hidden.weight):
            parameter.zero_()
        neck.cell.input.bias[hidden : 2 * hidden] = -1e4
    single.load_state_dict(neck.state_dict())
    passes = []
    neck.cell.register_forward_hook(lambda *_: passes.append(1))
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    out = neck(x)
    assert len(passes) == 6 and out.step_feats.shape[1] == 5
    expected = single(x).step_feats.expand(-1, 5, -1)
    torch.testing.assert_close(out.step_feats, expected, rtol=0, atol=1e-12)
    whole = trained(make(include_global=True))
    whole.load_state_dict(neck.state_dict())
    all_looks = whole(x)
    torch.testing.assert_close(all_looks.step_feats[:, 1:], out.step_feats)
    torch.testing.assert_close(all_looks.pooled, all_looks.step_feats.amax(1))
    assert not torch.allclose(all_looks.step_feats[:, 0], out.step_feats[:, 0])


def test_bounded_regions_never_leave_the_picture():
    neck = trained(make(loc_param='bounded', scale_range=(0.1, 1.0)), spread=30.0)
    theta = neck(torch.randn(8, 3, 5, 8, dtype=torch.float64)).theta
    scale, shift = theta[..., :2], theta[..., 2:]
    assert (scale >= 0.1).all() and (scale <= 1).all() and (scale + shift.abs() <= 1 + 1e-12).all()
    assert theta.std() > 0.1


def test_reads_maps_of_cnn_and_transformer_backbones():
    neck = trained(make())
    x, other = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 9, 1, 1)
    expected = neck((other, x))
    for feats in ([other, x], (other, x.permute(0, 2, 3, 1)), (other, x.flatten(2).mT), x):
        torch.testing.assert_close(neck(feats), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('feats', 'said'),
    [
        (torch.rand(2, 5), r'\(2, 5\)'),
        (torch.rand(2, 4, 5, 6), r'\(2, 4, 5, 6\).*in_channels=3'),
        (torch.rand(2, 7, 3), '7'),
    ],
)
def test_unreadable_features_are_named(feats, said):
    with pytest.raises(ValueError, match=said):
        make()(feats)


def test_dropout_on_x_in_training_only():
    neck, x = make(dropout=0.5), torch.rand(2, 3, 5, 8)
    assert not torch.equal(neck(x).pooled, neck(x).pooled)
    neck.eval()
    assert torch.equal(neck(x).pooled, neck(x).pooled)
    gone = make(dropout=1.0)
    inputs = []
    gone.cell.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    gone(x)
    assert all(i.eq(0).all() for i in inputs)


@pytest.mark.parametrize(
    'options',
    [{}, dict(loc_param='bounded'), dict(region_embed='gap', embed_dims=3), dict(region_embed='conv')],
)
def test_regions_keep_single_precision_under_autocast(options):
    neck = make(**options)
    nn.init.normal_(neck.loc.weight, std=0.1)
    x = torch.rand(2, 3, 6, 6)
    with torch.autocast('cpu', torch.bfloat16):
        out = neck(x)
    exact = neck(x)
    assert out.theta.dtype == torch.float32
    torch.testing.assert_close(out.theta, exact.theta, rtol=0.02, atol=0.02)
    torch.testing.assert_close(out.pooled.float(), exact.pooled, rtol=0.05, atol=0.02)
    # More digits than bfloat16 has: the localisation was not rounded on the way.
    assert not torch.equal(out.theta, out.theta.bfloat16().float())
    (out.pooled.float().sum() + out.theta.sum()).backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in neck.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_under_autocast(dtype):
    """As a backbone under autocast hands them on."""
    neck, x = make(), torch.rand(2, 3, 6, 6).to(dtype)
    with torch.autocast('cpu', dtype):
        out = neck(x)
    assert out.theta.dtype == torch.float32 and out.pooled.isfinite().all()
    torch.testing.assert_close(out.pooled.float(), neck(x.float()).pooled, rtol=0.05, atol=0.02)


@pytest.mark.parametrize('value', [0.0, 1e4, -1e4])
def test_extreme_maps_and_regions_are_finite(value):
    neck, x = make(), torch.full((2, 3, 6, 6), value, requires_grad=True)
    nn.init.constant_(neck.loc.bias, value)
    out = neck(x)
    (out.pooled.sum() + out.theta.sum()).backward()
    assert out.step_feats.isfinite().all() and x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in neck.parameters())


@pytest.mark.parametrize(
    ('head', 'label'),
    [
        (dict(type='mmpretrain.LinearClsHead'), [1]),
        (dict(type='mmpretrain.MultiLabelLinearClsHead', thr=0.5), [0, 2]),
    ],
)
def test_stock_heads(head, label):
    """Single label and multi-label heads of mmpretrain read the pooled features."""
    neck = make()
    neck.init_weights()
    head = MODELS.build(head | dict(num_classes=3, in_channels=7))
    feats = neck((torch.rand(2, 3, 5, 8),))
    torch.testing.assert_close(head(feats), head.fc(feats.pooled))
    sum(head.loss(feats, [DataSample().set_gt_label(label)] * 2).values()).backward()
    assert all(p.grad is not None for p in [*neck.parameters(), *head.parameters()])
    assert neck.loc.weight.grad.abs().sum() > 0
    assert head.predict(feats, None)[0].pred_score.shape == (3,)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(in_channels=0), 'in_channels.*0'),
        (dict(num_steps=0), 'num_steps.*0'),
        (dict(num_steps=2.5), 'num_steps.*2.5'),
        (dict(region_size=0), 'region_size.*0'),
        (dict(region_size=(4, -2)), 'region_size.*-2'),
        (dict(region_size=(4, 4, 4)), r'region_size.*4, 4, 4'),
        (dict(region_pool='sum'), "region_pool.*'sum'"),
        (dict(region_size=5), '5.*2|2.*5'),
        (dict(region_embed='mlp'), "region_embed.*'mlp'"),
        (dict(embed_dims=0), 'embed_dims.*0'),
        (dict(hidden_dims=-1), 'hidden_dims.*-1'),
        (dict(out_dims=0), 'out_dims.*0'),
        (dict(cell_out='relu'), "cell_out.*'relu'"),
        (dict(loc_param='affine'), "loc_param.*'affine'"),
        (dict(loc_init=dict(scale=float('nan'))), 'scale.*nan'),
        (dict(loc_init=dict(shift='a')), "shift.*'a'"),
        (dict(loc_init=dict(zoom=1.0)), 'loc_init.*zoom'),
        (dict(loc_param='bounded', loc_init=dict(scale=0.05)), '0.05'),
        (dict(loc_param='bounded', loc_init=dict(scale=0.5, shift=0.7)), '0.7'),
        (dict(loc_param='bounded', scale_range=(0.9, 0.2)), r'scale_range.*0.9, 0.2'),
        (dict(loc_param='bounded', scale_range=(0.1, 1.2)), 'scale_range.*1.2'),
        (dict(loc_param='bounded', scale_range=(-0.1, 1.0)), 'scale_range.*-0.1'),
        (dict(loc_param='bounded', scale_range=(0.1,)), r'scale_range.*\(0.1,\)'),
        (dict(anchor=dict(radius=float('inf'))), 'radius.*inf'),
        (dict(anchor=dict(start_angle=None)), 'start_angle.*None'),
        (dict(anchor=dict(first='centre')), "first.*'centre'"),
        (dict(anchor=dict(angle=0)), 'anchor.*angle'),
        (dict(dropout=1.5), 'dropout.*1.5'),
        (dict(dropout=-0.1), 'dropout.*-0.1'),
        (dict(region_embed='gap', fc_from_vgg=dict(checkpoint='a')), "fc_from_vgg.*'gap'"),
        (dict(fc_from_vgg=dict(prefix='a')), 'fc_from_vgg.*checkpoint'),
        (dict(fc_from_vgg=dict(checkpoint='a', key='b')), 'fc_from_vgg.*key'),
    ],
)  # fmt: skip
def test_impossible_arguments_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)

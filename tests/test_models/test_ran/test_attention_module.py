"""The attention module against an independent reference, its two learning schemes, and attended stages."""

import pytest
import torch
from reference.ran import Net, assert_same, attention_module, randomise
from torch import nn

from mmlattn.models.ran.attention_module import AttendedStage, AttentionModule
from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.models.ran.residual_units import InceptionUnit, PreActUnit, ResNeXtUnit
from mmlattn.models.ran.soft_mask import SoftMask

F64 = torch.float64


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small_resnext(c_in, channels):
    return ResNeXtUnit(c_in, channels, groups=2)


UNITS = dict(preact=(PreActUnit, 4), resnext=(small_resnext, 4), inception=(InceptionUnit, 64))


def make_mask(unit=PreActUnit, channels=4, depth=2, r=1, **kwargs):
    return SoftMask(
        channels, depth, r, unit=unit, norm=nn.BatchNorm2d, preactivation=unit is PreActUnit, **kwargs
    )


def make_module(kind='preact', p=1, t=2, r=1, depth=2, learning='arl', **kwargs):
    unit, channels = UNITS[kind]
    mask = make_mask(unit, channels, depth, r, **kwargs)
    return randomise(AttentionModule(channels, p, t, mask=mask, unit=unit, learning=learning)).to(F64)


SCHEMES = ['arl', 'nal']
CASES = [
    *(dict(ptr=ptr, learning=learning) for ptr in [(1, 2, 1), (2, 4, 3), (0, 1, 2)] for learning in SCHEMES),
    *(dict(kind=kind, learning=learning) for kind in ['resnext', 'inception'] for learning in SCHEMES),
    *(dict(kind=kind, attention=attention) for kind in UNITS for attention in ['channel', 'spatial']),
]


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('case', CASES, ids=lambda case: '-'.join(str(v) for v in case.values()))
def test_equals_the_reference(case, training):
    case = dict(ptr=(1, 2, 1), kind='preact', learning='arl', attention='mixed') | case
    kind, (p, t, r), learning, attention = (case[k] for k in ('kind', 'ptr', 'learning', 'attention'))
    module = make_module(kind, p, t, r, learning=learning, attention=attention).train(training)
    named = nn.ModuleDict(dict(m=module))
    wiring = dict(learning=learning, attention=attention)
    net = Net(named.state_dict(), kind, 2, training, **wiring)
    x = torch.randn(2, module.mask.head.conv2.out_channels, 11, 9, dtype=F64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    expected = attention_module(net, 'm', twin, 2, (p, t, r))
    # Channel and spatial attention are computed in single precision, whatever the input's.
    rtol = 1e-9 if attention == 'mixed' else 1e-4
    assert_same(named, [module(x)], net, [expected], [(x, twin)], rtol=rtol, atol=rtol)


@pytest.mark.parametrize('kind', UNITS)
def test_a_mask_of_zeros_leaves_the_trunk_as_it_is(kind):
    """ARL: post(trunk(pre(x))) to the last bit; NAL: post(0)."""
    arl, nal = (make_module(kind, learning=learning, bias=-800.0).eval() for learning in ('arl', 'nal'))
    nal.load_state_dict(arl.state_dict())
    for module in (arl, nal):
        module.mask.head.init_logits(zero=True)
    x = torch.randn(2, UNITS[kind][1], 8, 8, dtype=F64)
    assert torch.equal(arl(x), arl.post(arl.trunk(arl.pre(x))))
    assert torch.equal(nal(x), nal.post(torch.zeros_like(x)))


@pytest.mark.parametrize('learning, factor', [('nal', lambda m: m), ('arl', lambda m: 1 + m)])
def test_the_mask_filters_the_trunks_gradient(learning, factor):
    """d(M T)/d(phi) = M dT/d(phi) for the parameters phi of the trunk; 1 + M for ARL."""
    module = make_module(p=0, learning=learning)
    x, cotangent = torch.randn(2, 2, 4, 8, 8, dtype=F64)
    with record_masks(nn.ModuleDict(dict(a=module))) as masks:
        out = module(x)
    phi = list(module.trunk.parameters())
    filtered = torch.autograd.grad(out, phi, cotangent)
    expected = torch.autograd.grad(module.trunk(x), phi, cotangent * factor(masks['a']))
    unfiltered = torch.autograd.grad(module.trunk(x), phi, cotangent)
    torch.testing.assert_close(filtered, expected, rtol=1e-10, atol=1e-12)
    assert (filtered[1] - unfiltered[1]).abs().max() > 1e-3


@pytest.mark.parametrize('modules', [1, 3])
@pytest.mark.parametrize('learning, ratio', [('arl', 1.5), ('nal', 0.5)])
def test_response_at_the_start(learning, ratio, modules):
    """Masks start around 1/2: each naive module halves what it passes on, the paper's reason for ARL."""

    class Pass(nn.Module):
        def forward(self, x):
            return x

    stack = nn.Sequential()
    for _ in range(modules):
        module = AttentionModule(16, 0, 1, mask=make_mask(PreActUnit, 16), unit=PreActUnit, learning=learning)
        module.trunk = Pass()
        stack.append(module)
    x = torch.randn(8, 16, 16, 16)
    assert (stack(x).abs().mean() / x.abs().mean()).item() == pytest.approx(ratio**modules, rel=0.1)


def test_the_trunk_is_run_once_and_without_the_mask():
    module = make_module()
    calls = []
    for name in ('pre', 'trunk', 'mask', 'post'):
        getattr(module, name).register_forward_hook(lambda *_, name=name: calls.append(name))
    module(torch.randn(2, 4, 8, 8, dtype=F64))
    assert sorted(calls) == ['mask', 'post', 'pre', 'trunk']


# --- stages of other networks


@pytest.mark.parametrize('learning', ['arl', 'nal'])
@pytest.mark.parametrize('pre', [1, 2])
def test_attended_stage(learning, pre):
    """Names and weights of the blocks stay; what is returned is their fusion with the mask."""
    blocks = nn.Sequential(PreActUnit(2, 4, 2), *(PreActUnit(4, 4) for _ in range(3)))
    plain = {k: v.clone() for k, v in blocks.state_dict().items()}
    stage = AttendedStage(blocks, mask=make_mask(), pre=pre, learning=learning).eval()
    missing, unexpected = stage.load_state_dict(plain, strict=False)
    assert unexpected == []
    assert {name.split('.')[0] for name in missing} == {'mask'}
    x = torch.randn(2, 2, 16, 12)
    entry = blocks[:pre].eval()(x)
    trunk = blocks[pre:].eval()(entry)
    mask = stage.mask(entry, trunk)
    torch.testing.assert_close(stage(x), (1 + mask) * trunk if learning == 'arl' else mask * trunk)

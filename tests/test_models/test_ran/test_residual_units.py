"""Residual units against an independent reference, and recomputation against none."""

from copy import deepcopy

import pytest
import torch
from reference.ran import Net, assert_same, randomise
from torch import nn

from mmlattn.models.ran.residual_units import InceptionUnit, PreActUnit, ResNeXtUnit

UNITS = dict(preact=PreActUnit, resnext=ResNeXtUnit, inception=InceptionUnit)
GROUPS = 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(kind, c_in, channels, stride=1, **kwargs):
    if kind == 'resnext':
        kwargs['groups'] = GROUPS
    return randomise(UNITS[kind](c_in, channels, stride, **kwargs)).double()


def shapes(kind):
    """(C_in, C, stride): identity, wider, strided, strided without a change of channels, narrower."""
    c, other = (64, 24) if kind == 'inception' else (16, 6)
    return [(c, c, 1), (other, c, 1), (other, c, 2), (c, c, 2), (2 * c, c, 1)]


CASES = [(kind, *shape) for kind in UNITS for shape in shapes(kind)]


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('kind, c_in, channels, stride', CASES)
def test_equals_the_reference(kind, c_in, channels, stride, training):
    """Output, every gradient and running statistics; the input is left as it was."""
    unit = make(kind, c_in, channels, stride).train(training)
    net = Net({f'u.{k}': v for k, v in unit.state_dict().items()}, kind, groups=GROUPS, training=training)
    x = torch.randn(2, c_in, 7, 6, dtype=torch.float64, requires_grad=True)
    twin = x.detach().clone().requires_grad_()
    out, expected = unit(x), net.unit(net, 'u', twin, stride)
    assert out.shape == (2, channels, -(-7 // stride), -(-6 // stride))
    assert torch.equal(x, twin)
    assert_same(nn.ModuleDict(dict(u=unit)), [out], net, [expected], [(x, twin)])


@pytest.mark.parametrize(
    'unit, expected',
    [
        # Weights of the convolutions plus two for each normalised channel.
        (PreActUnit(32, 32), 32 * 8 + 8 * 8 * 9 + 8 * 32 + 2 * (32 + 8 + 8)),
        (PreActUnit(16, 32), 16 * 8 + 8 * 8 * 9 + 8 * 32 + 16 * 32 + 2 * (16 + 8 + 8)),
        (ResNeXtUnit(64, 64), 64 * 32 + 32 * 9 + 32 * 64 + 2 * (32 + 32 + 64)),
        (ResNeXtUnit(64, 64, 2), 64 * 32 + 32 * 9 + 32 * 64 + 64 * 64 + 2 * (32 + 32 + 64 + 64)),
        (
            InceptionUnit(64, 64),
            64 * (9 + 8 + 4) + 9 * (8 * 8 + 4 * 8 + 8 * 8) + 25 * 64 + 2 * (9 + 8 + 8 + 4 + 8 + 8 + 64),
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else '',
)
def test_number_of_parameters(unit, expected):
    assert sum(p.numel() for p in unit.parameters()) == expected


@pytest.mark.parametrize('kind, post_activation', [('preact', False), ('resnext', True), ('inception', True)])
def test_only_post_activated_units_end_in_a_relu(kind, post_activation):
    unit = make(kind, 64, 64)
    assert unit.preactivation is not post_activation
    assert (unit(torch.randn(2, 64, 5, 5, dtype=torch.float64)).min() >= 0) == post_activation


def step(unit, x):
    """Output, gradients and buffers after two batches."""
    for batch in (x, x.flip(0) + 1):
        batch = batch.clone().requires_grad_()
        out = unit(batch)
        out.square().sum().backward()
    state = {name: p.grad for name, p in unit.named_parameters()} | dict(unit.named_buffers())
    return state | dict(out=out, x=batch.grad)


@pytest.mark.parametrize('statistics', ['batch', 'running', 'cumulative', 'mixed', 'group'])
@pytest.mark.parametrize('kind', UNITS)
def test_recomputation_changes_nothing(kind, statistics):
    """Equal to the last bit, running statistics and the counter of batches included."""
    momentum = None if statistics == 'cumulative' else 0.1

    def norm(channels):
        return (
            nn.GroupNorm(1, channels)
            if statistics == 'group'
            else nn.BatchNorm2d(channels, momentum=momentum)
        )

    plain = make(kind, 64, 64, norm=norm).float()
    plain.train(statistics != 'running')
    if statistics == 'mixed':  # one frozen among the others
        next(m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)).eval()
    recomputed = deepcopy(plain)
    recomputed.with_cp = True
    modes = [m.training for m in plain.modules()]
    x = torch.randn(3, 64, 5, 5)
    expected, got = step(plain, x), step(recomputed, x)
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    assert [m.training for m in recomputed.modules()] == modes
    assert all(m.track_running_stats for m in recomputed.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('kind', UNITS)
def test_recomputation_happens_and_only_where_it_saves(kind):
    """The backward pass runs the unit again, and what is kept for it is the input."""
    counts, kept = {}, {}
    for with_cp in (False, True):
        unit = make(kind, 64, 64)
        unit.with_cp = with_cp
        first = next(m for m in unit.modules() if isinstance(m, nn.Conv2d))
        calls, saved = [], []
        first.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        x = torch.randn(2, 64, 5, 5, dtype=torch.float64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=saved: s.append(t.numel()) or t, lambda t: t
        ):
            out = unit(x)
        out.sum().backward()
        unit(x.detach())
        with torch.no_grad():
            unit(x)
        counts[with_cp], kept[with_cp] = len(calls), sum(saved)
    assert counts == {False: 3, True: 4}
    assert kept[True] <= x.numel() < kept[False]


@pytest.mark.parametrize(
    'kind, channels, kwargs, match',
    [
        (PreActUnit, 18, {}, 'PreActUnit splits its channels in 4 parts, got channels=18'),
        (PreActUnit, 0, {}, 'PreActUnit .* channels=0'),
        (InceptionUnit, 96, {}, 'InceptionUnit splits its channels in 64 parts, got channels=96'),
        (ResNeXtUnit, 33, {}, 'ResNeXtUnit splits its channels in 2 parts, got channels=33'),
        (ResNeXtUnit, 48, {}, r'48 channels convolves 24 of them in groups=32.*groups=4'),
        (ResNeXtUnit, 48, dict(groups=5), 'groups=5'),
    ],
)
def test_channels_that_do_not_divide(kind, channels, kwargs, match):
    with pytest.raises(ValueError, match=match):
        kind(channels, channels, **kwargs)


@pytest.mark.parametrize('create_graph', [False, True])
def test_a_recomputed_unit_can_be_walked_twice(create_graph):
    """Several losses over one graph, or a gradient penalty, as without recomputation."""
    torch.manual_seed(0)
    plain = PreActUnit(8, 8).double()
    again = PreActUnit(8, 8).double()
    again.with_cp = True
    again.load_state_dict(plain.state_dict())
    results = []
    for unit in (plain, again):
        x = torch.linspace(-1, 1, 2 * 8 * 16, dtype=torch.double).reshape(2, 8, 4, 4).sin().requires_grad_()
        out = unit(x)
        if create_graph:
            (grad,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            grad.square().sum().backward()
        else:
            out.sum().backward(retain_graph=True)
            out.square().sum().backward()
        results.append([x.grad, *(p.grad for p in unit.parameters()), *unit.buffers()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)

"""Converted weights compute what networks written under the other names compute."""

import re
from functools import cache

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from reference.ran_foreign_networks import CaffeNet, PortNet, Unit, randomise

from mmlattn.models.ran.residual_units import ResidualUnit
from mmlattn.models.ran.state_dicts import Plan, from_mmlattn, model_config, to_mmlattn

STEM, CHANNELS, CLASSES = 8, (16, 32, 48, 64), 7
PORTS = {'cifar 92': (True, 92), 'cifar 56': (True, 56), '56': (False, 56), '92': (False, 92)}
CAFFES = {'56': (False, 56), '92': (False, 92), 'NeXt 56': (True, 56), 'NeXt 92': (True, 92)}


def build(plan):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model_config(plan)).double().eval()


@pytest.fixture(autouse=True, scope='module')
def _one_thread():
    """Networks this small are slower with more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def port_net(cifar=True, depth=92):
    torch.manual_seed(0)
    return randomise(PortNet(cifar, depth, STEM, CHANNELS, CLASSES)).double().eval()


@cache
def caffe_net(following=False, depth=56):
    torch.manual_seed(0)
    net = CaffeNet(following, depth, STEM, CHANNELS, CLASSES, groups=4)
    net(torch.zeros(1, 3, 64, 64, dtype=torch.double))  # which makes its blobs
    return net


def picture(cifar=False):
    size = (32, 32) if cifar else (64, 75)
    return torch.randn(1, 3, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize('kind', PORTS)
def test_port_computes_the_same(kind):
    net, x = port_net(*PORTS[kind]), picture(PORTS[kind][0])
    state, plan = to_mmlattn(net.state_dict())
    model = build(plan)
    model.load_state_dict(state)
    torch.testing.assert_close(model(x), net(x), rtol=1e-9, atol=1e-9)
    assert plan == Plan(
        'port', (1, 2, 3) if '92' in kind else (1, 1, 1), 'cifar' in kind, 0, STEM, CHANNELS, CLASSES
    )


@torch.no_grad()
@pytest.mark.parametrize('kind', CAFFES)
def test_caffe_computes_the_same(kind):
    net = caffe_net(*CAFFES[kind])
    x = picture()
    state, plan = to_mmlattn(net.blobs)
    model = build(plan)
    model.load_state_dict(state)
    torch.testing.assert_close(model(x), net(x), rtol=1e-9, atol=1e-9)
    assert plan.groups == (4 if 'NeXt' in kind else 0)


@torch.no_grad()
@pytest.mark.parametrize('layout', ['port', 'caffe'])
def test_outputs_change_if_two_blocks_are_exchanged(layout):
    """So the tests above would see it: each unit, and each layer of a mask's head, with the next of its shape."""
    source = port_net(True, 56).state_dict() if layout == 'port' else caffe_net(False, 56).blobs
    state, plan = to_mmlattn(source)
    model = build(plan)
    model.load_state_dict(state)
    x = picture(cifar=True)
    expected, last, exchanged = model(x), {}, 0
    for name, block in model.named_modules():
        shapes = tuple(tensor.shape for tensor in block.state_dict().values())
        if not isinstance(block, ResidualUnit) and not re.search(r'head\.(conv|norm)\d$', name):
            continue
        other, last[shapes] = last.get(shapes), block
        if other is not None:
            exchange(block, other)
            assert (model(x) - expected).abs().max() > 1e-6, name
            exchange(block, other)
            exchanged += 1
    assert exchanged == (19 if layout == 'port' else 25) + 2 * 3
    assert torch.equal(model(x), expected)


def exchange(a, b):
    kept = {name: tensor.clone() for name, tensor in a.state_dict().items()}
    a.load_state_dict(b.state_dict())
    b.load_state_dict(kept)


@pytest.mark.parametrize('kind', PORTS)
def test_port_and_back(kind):
    """Bit for bit, but for projections that nothing uses: they become zeros."""
    net = port_net(*PORTS[kind])
    source = net.state_dict()
    state, plan = to_mmlattn(source)
    back = from_mmlattn(state, 'port')
    dead = {f'{n}.conv4.weight' for n, m in net.named_modules() if isinstance(m, Unit) and not m.projects}
    assert back.keys() == source.keys() and len(dead) > 20
    for name, tensor in source.items():
        assert torch.equal(back[name], torch.zeros_like(tensor) if name in dead else tensor), name
    again, same_plan = to_mmlattn(back)
    assert same_plan == plan and again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize('kind', CAFFES)
def test_caffe_and_back(kind):
    net = caffe_net(*CAFFES[kind])
    back = from_mmlattn(to_mmlattn(net.blobs)[0], 'caffe')
    assert back.keys() == net.blobs.keys()
    assert all(torch.equal(back[name], blob) for name, blob in net.blobs.items())


SIZES = (64, (256, 512, 1024, 2048))


@pytest.mark.parametrize(
    ('plan', 'tensors', 'parameters', 'live'),
    [
        (Plan('port', (1, 2, 3), True, 0, 32, (128, 256, 512, 1024), 10), 940, 19_920_362, 12_170_730),
        (Plan('port', (1, 1, 1), False, 0, *SIZES, 10), None, 47_608_010, 29_782_218),
        (Plan('port', (1, 2, 3), False, 0, *SIZES, 10), None, 83_205_834, 50_437_834),
        # Caffe's own count holds the running statistics: the 31.9 million of the paper's table.
        (Plan('caffe', (1, 1, 1), False, 0, *SIZES, 1000), None, 31_883_432, 31_810_728),
        (Plan('caffe', (1, 2, 3), False, 0, *SIZES, 1000), None, 52_599_976, 52_466_344),
        (Plan('caffe', (1, 1, 1), False, 32, *SIZES, 1000), None, 31_417_256, 31_318_824),
        (Plan('caffe', (1, 2, 3), False, 32, *SIZES, 1000), None, 52_274_088, 52_102_952),
    ],
)
def test_sizes(plan, tensors, parameters, live):
    """Of the port's classes with what they never use, and of the authors' definitions as Caffe stores them."""
    with torch.device('meta'):
        model = build(plan)
    state = {
        key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) if tensor.is_meta else tensor
        for key, tensor in model.state_dict().items()
    }
    assert sum(p.numel() for p in model.parameters()) == live
    foreign = from_mmlattn(state, plan.layout)
    skipped = ('.running_mean', '.running_var', '.num_batches_tracked')
    assert sum(t.numel() for name, t in foreign.items() if not name.endswith(skipped)) == parameters
    assert tensors in (None, len(foreign))
    back, same_plan = to_mmlattn(foreign)
    assert same_plan == plan and back.keys() == state.keys()


def test_names_before_and_counts_after_old_pytorch():
    """DataParallel's prefix, and files from before batches were counted."""
    source = port_net().state_dict()
    old = {
        f'module.{name}': tensor
        for name, tensor in source.items()
        if not name.endswith('num_batches_tracked')
    }
    state, plan = to_mmlattn(old, 'port')
    new, _ = to_mmlattn(source)
    build(plan).load_state_dict(state)
    for key, tensor in new.items():
        assert torch.equal(state[key], torch.tensor(0) if key.endswith('num_batches_tracked') else tensor), (
            key
        )


def without(name):
    return lambda state: state.pop(name)


def reshaped(name, *shape):
    return lambda state: state.update({name: torch.zeros(shape)})


DEAD = 'attention_module1.last_blocks.conv4.weight'
WRONG_PORTS = {
    'lost': (without('fc.bias'), r'missing: fc\.bias\. Likely another port'),
    'lost stem': (without('conv1.0.weight'), r'missing: the weight conv1\.0\.weight'),
    'lost projection that nothing uses': (without(DEAD), f'missing: {DEAD}'),
    'another shape of it': (reshaped(DEAD, 16, 16), r'conv4\.weight \(16, 16\) instead of \(16, 16, 1, 1\)'),
    'one count lost': (without('conv1.1.num_batches_tracked'), r'missing: conv1\.1\.num_batches_tracked'),
    'unknown': (reshaped('fc2.weight', 3, 3), r'unknown: fc2\.weight'),
    'another shape': (reshaped('fc.bias', 3), r'fc\.bias \(3,\) instead of \(7,\)'),
    'no such width': (reshaped('residual_block1.conv3.weight', 17, 4, 1, 1), 'no network has the sizes'),
    'negative variance': (
        lambda state: state.update({'conv1.1.running_var': torch.full((STEM,), -1.0)}),
        r'negative: conv1\.1\.running_var',
    ),
    'no module': (
        lambda state: [state.pop(name) for name in list(state) if name.startswith('attention_module3_3.')],
        r'\(1, 2, 2\) attention modules',
    ),
}


@pytest.mark.parametrize('wrong', WRONG_PORTS)
def test_strict_about_the_port(wrong):
    change, message = WRONG_PORTS[wrong]
    state = dict(port_net().state_dict())
    change(state)
    with pytest.raises(ValueError, match=message):
        to_mmlattn(state)


def test_strict_about_caffe():
    net = caffe_net()
    lost, bn = dict(net.blobs), 'AttentionC_1/mask/up_sample/interp_1/bn'
    del lost[f'{bn}.3']
    with pytest.raises(ValueError, match=rf'missing: {bn}\.3\. Likely a definition other'):
        to_mmlattn(lost)
    with pytest.raises(ValueError, match=r'AttentionB_1/mask/linear_3\.0'):
        to_mmlattn({**net.blobs, 'AttentionB_1/mask/linear_3.0': torch.zeros(1)})
    weight, variance = net.blobs['classifier.0'], net.blobs[f'{bn}.3']
    old_axes = {**net.blobs, 'classifier.0': weight[None, None], f'{bn}.3': variance.flatten()}
    assert torch.equal(to_mmlattn(old_axes)[0]['head.fc.weight'], weight)


def test_layouts_are_told_apart():
    source = port_net().state_dict()
    with pytest.raises(ValueError, match='those of the layout port, expected caffe'):
        to_mmlattn(source, 'caffe')
    with pytest.raises(ValueError, match='those of the layout mmlattn'):
        to_mmlattn(to_mmlattn(source)[0])
    with pytest.raises(ValueError, match=r'a\.weight, b: neither the names'):
        to_mmlattn({'a.weight': torch.zeros(1), 'b': torch.zeros(1)})
    with pytest.raises(ValueError, match='expected our names'):
        from_mmlattn(source, 'port')


@pytest.mark.parametrize(
    ('change', 'layout', 'message'),
    [
        (dict(ptr=(2, 2, 1)), 'port', r'unknown: backbone\.stage1\.attention1\.pre\.1'),
        (dict(mask_depths=(3, 2, 1)), 'port', r'unknown: .*mask\.body'),
        (dict(unit=dict(type='resnext', groups=4)), 'port', 'missing: '),
        (
            dict(pool_style='caffe', mask_skip='official'),
            'caffe',
            r'backbone\.stem\.conv\.weight \(8, 3, 3, 3\) instead of \(8, 3, 7, 7\)',
        ),
    ],
)
def test_networks_that_a_layout_has_no_names_for(change, layout, message):
    model = model_config(to_mmlattn(port_net().state_dict())[1])
    model['backbone'] |= change
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(model).state_dict()
    with pytest.raises(ValueError, match=message):
        from_mmlattn(state, layout)

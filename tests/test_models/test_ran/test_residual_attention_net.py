"""Residual Attention Networks: sizes to the integer, functions against a reference, freezing, memory, types."""

import pickle
from copy import deepcopy
from itertools import chain, combinations, product

import pytest
import torch
from mmpretrain.registry import MODELS
from reference.ran import Net, assert_same, cifar, imagenet, randomise
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.models import ResidualAttentionNet, ResidualAttentionNet_CIFAR
from mmlattn.models.ran.attention_module import AttentionModule
from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.models.ran.residual_units import ResidualUnit
from mmlattn.models.ran.soft_mask import MaskHead
from mmlattn.utils.launch.stumbles import StepCounter, explain_stumble

F64 = torch.float64
SMALL = dict(stem_channels=4, channels=(8, 8, 16, 16))
RESNEXT = dict(type='resnext', groups=2)
ARCHS = dict(preact=SMALL, resnext=SMALL, inception=dict(stem_channels=4, channels=(64, 64, 64, 64)))
UNITS = dict(preact='preact', resnext=RESNEXT, inception='inception')


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(unit='preact', **kwargs):
    """A net of the same plan with few channels, running statistics and affine parameters drawn."""
    arch = ARCHS[unit] | kwargs.pop('arch', {})
    return randomise(ResidualAttentionNet(arch, UNITS[unit], **kwargs))


def step(net, *batches):
    """Outputs, gradients and buffers after training on some batches."""
    for x in batches:
        outs = net(x)
        sum(out.square().mean() for out in outs).backward()
    state = {f'grad {name}': p.grad for name, p in net.named_parameters()} | dict(net.named_buffers())
    return state | {f'out {i}': out for i, out in enumerate(outs)}


def differing(a, b):
    """Names of what is not equal bit for bit."""
    assert a.keys() == b.keys()
    return [name for name in a if not (a[name] is b[name] or torch.equal(a[name], b[name]))]


def norms(net):
    return [m for m in net.modules() if isinstance(m, _BatchNorm)]


# --- sizes


def classifier(backbone, num_classes=1000, **kwargs):
    """A whole classifier without any memory behind its weights."""
    with torch.device('meta'):
        channels = 256 if backbone.endswith('CIFAR') else 2048
        config = dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type=f'mmlattn.{backbone}', **kwargs),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=num_classes, in_channels=channels),
        )
        return MODELS.build(config)


def multiply_adds(model, *size):
    """Of convolutions and linear layers, for one picture, counted by hooks."""
    counts = {}

    def count(name, module, out):
        counts[name] = out.numel() * module.weight[0].numel()

    handles = [
        module.register_forward_hook(lambda m, _, out, name=name: count(name, m, out))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    model(torch.empty(1, 3, *size, device='meta'))
    for handle in handles:
        handle.remove()
    return counts


def size_of(module, statistics=False):
    tensors = list(module.parameters())
    if statistics:
        tensors += [b for name, b in module.named_buffers() if name.endswith(('mean', 'var'))]
    return sum(t.numel() for t in tensors)


# Counted from the authors' Caffe files: learnable parameters, with running statistics, multiply-adds at 224 x 224,
# parameters without the classifier; the Inception unit is ours.
IMAGENET = {
    ('56', 'preact'): (31_810_728, 31_883_432, 6_270_836_736, 29_761_728),
    ('92', 'preact'): (52_466_344, 52_599_976, 10_533_789_696, 50_417_344),
    ('56', 'resnext'): (31_318_824, 31_417_256, 6_419_106_816, 29_269_824),
    ('92', 'resnext'): (52_102_952, 52_274_088, 10_704_337_920, 50_053_952),
    ('56', 'inception'): (31_787_440, 31_872_952, None, 31_787_440 - 2_049_000),
}


@pytest.mark.parametrize('arch, unit', IMAGENET)
def test_size_and_cost_to_the_integer(arch, unit):
    model = classifier('ResidualAttentionNet', arch=arch, unit=unit)
    learnable, with_statistics, cost, backbone = IMAGENET[arch, unit]
    assert size_of(model) == learnable
    assert size_of(model, statistics=True) == with_statistics
    assert size_of(model.backbone) == backbone
    counted = multiply_adds(model, 224, 224)
    if cost is None:  # known to four digits
        assert f'{sum(counted.values()) / 1e9:.4f}' == '6.3396'
    else:
        assert sum(counted.values()) == cost
    depthwise = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
    known = dict(preact=(29_689_024, 50_283_712), resnext=(29_171_392, 49_882_816))
    assert unit not in known or depthwise == known[unit][arch == '92']


# Billions of multiply-adds at other sizes, rounded as printed.
COSTS = [
    ('56', 'preact', (320, 320), '12.80'),
    ('92', 'preact', (320, 320), '21.50'),
    ('56', 'resnext', (320, 320), '13.10'),
    ('56', 'inception', (299, 299), '11.757'),
    ('56', 'preact', (800, 1333), '133.9'),
    ('92', 'preact', (800, 1333), '225.1'),
    ('56', 'resnext', (800, 1333), '137.0'),
]


@pytest.mark.parametrize('arch, unit, size, billions', COSTS)
def test_cost_at_other_sizes(arch, unit, size, billions):
    cost = sum(multiply_adds(classifier('ResidualAttentionNet', arch=arch, unit=unit), *size).values()) / 1e9
    assert f'{cost:.{len(billions.partition(".")[2])}f}' == billions


def test_share_of_each_block():
    """Millions of parameters and billions of multiply-adds at 224; a normalisation belongs to the unit it opens."""
    backbone = classifier('ResidualAttentionNet', arch='56').backbone
    cost = multiply_adds(backbone, 224, 224)
    shares = {
        name: (
            f'{size_of(block) / 1e6:.3f}',
            f'{sum(n for key, n in cost.items() if key.startswith(name)) / 1e9:.3f}',
        )
        for name, block in backbone.named_modules()
        if name.count('.') == 1 and name.startswith('stage')
    }
    assert shares == {
        'stage1.transition': ('0.074', '0.231'),
        'stage1.attention1': ('0.977', '1.496'),
        'stage2.transition': ('0.378', '0.373'),
        'stage2.attention1': ('3.047', '1.476'),
        'stage3.transition': ('1.509', '0.373'),
        'stage3.attention1': ('8.804', '1.394'),
        'stage4.transition': ('6.033', '0.373'),
        'stage4.unit1': ('4.463', '0.218'),
        'stage4.unit2': ('4.463', '0.218'),
    }


@pytest.mark.parametrize('arch, modules, convolutions', [('56', (1, 1, 1), 110), ('92', (1, 2, 3), 179)])
def test_number_of_layers(arch, modules, convolutions):
    """Units in the modules of each stage, convolutions of all, and the depth of the trunk in the name."""
    net = classifier('ResidualAttentionNet', arch=arch).backbone
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == convolutions
    for stage, (count, units) in enumerate(zip(modules, (12, 9, 6), strict=True), start=1):
        found = [m for m in getattr(net, f'stage{stage}') if isinstance(m, AttentionModule)]
        assert [sum(isinstance(m, ResidualUnit) for m in module.modules()) for module in found] == [
            units
        ] * count
    assert trunk_depth(net) == int(arch)


def trunk_depth(net):
    """Weighted layers from picture to scores, masks and projections apart, the classifier included."""
    names = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    return 1 + sum('.mask.' not in name and 'projection' not in name for name in names)


# Learnable parameters with 10 classes, and billions of multiply-adds, of the plan in the documentation.
CIFAR = {
    '56': (1_030_394, '0.123'),
    '92': (1_841_274, '0.212'),
    '128': (2_652_154, '0.301'),
    '164': (3_463_034, '0.390'),
    '236': (5_084_794, '0.568'),
    '452': (10_181_242, '0.984'),
}


@pytest.mark.parametrize('arch', CIFAR)
def test_size_and_cost_of_the_cifar_family(arch):
    model = classifier('ResidualAttentionNet_CIFAR', num_classes=10, arch=arch)
    parameters, billions = CIFAR[arch]
    assert size_of(model) == parameters
    assert f'{sum(multiply_adds(model, 32, 32).values()) / 1e9:.3f}' == billions
    assert trunk_depth(model.backbone) == int(arch)
    # Every mask reaches 4 x 4, the rule that ends at 7 x 7 for ImageNet.
    for stage, side in enumerate((32, 16, 8), start=1):
        bodies = [
            m.mask.body for m in getattr(model.backbone, f'stage{stage}') if isinstance(m, AttentionModule)
        ]
        assert {side >> (len(body.down) + 1) for body in bodies} == {4}


# --- shapes


@pytest.mark.parametrize('pool_style', ['torch', 'caffe'])
@pytest.mark.parametrize(
    'size',
    [(224, 224), (320, 320), (299, 299), (200, 304), (97, 131), (32, 32), (33, 33), (225, 333), (800, 1333)],
    ids=lambda size: f'{size[0]}x{size[1]}',
)
def test_shapes_of_the_stages(size, pool_style):
    """The stem's convolution rounds up, as do strided units; pooling up, or down in Caffe's style."""
    with torch.device('meta'):
        net = ResidualAttentionNet('56', pool_style=pool_style, out_indices=range(4))
        outs = net(torch.empty(2, 3, *size))
    sides = []
    for side in size:
        side = (side + 1) // 2
        sides.append([(side + 1) // 2 if pool_style == 'torch' else side // 2])
        for _ in range(3):
            sides[-1].append((sides[-1][-1] + 1) // 2)
    expected = [(2, 256 * 2**i, sides[0][i], sides[1][i]) for i in range(4)]
    assert [tuple(out.shape) for out in outs] == expected
    if size == (800, 1333) and pool_style == 'torch':
        assert [shape[2:] for shape in expected] == [(200, 334), (100, 167), (50, 84), (25, 42)]


# --- function


@pytest.mark.parametrize(
    'unit, wiring',
    [
        ('preact', {}),
        ('preact', dict(port=True)),
        ('preact', dict(caffe=True, align_corners=False)),
        ('preact', dict(learning='nal')),
        ('resnext', dict(caffe=True)),
        ('inception', {}),
    ],
    ids=str,
)
@pytest.mark.parametrize('training', [False, True])
def test_equals_the_reference(unit, wiring, training):
    """All stages' outputs, the gradients of all weights and the running statistics, at an odd size."""
    net = small(
        unit,
        modules=(1, 2),
        pool_style='caffe' if wiring.get('caffe') else 'torch',
        align_corners=wiring.get('align_corners', True),
        mask_skip='port' if wiring.get('port') else 'official',
        learning=wiring.get('learning', 'arl'),
        out_indices=(0, 1, 2, 3),
    )
    net = net.to(F64).train(training)
    reference = Net(net.state_dict(), unit, 2, training, **wiring)
    x = torch.randn(2, 3, 97, 75, dtype=F64)
    assert_same(net, net(x), reference, imagenet(reference, x, (1, 2, 0), (3, 2, 1)), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('depths, ptr', [((3, 2, 1), (1, 2, 1)), ((2, 1, 0), (2, 1, 2))])
def test_cifar_equals_the_reference(depths, ptr):
    arch = dict(stem_channels=4, channels=(8, 8, 16), modules=(2, 2, 2))
    net = ResidualAttentionNet_CIFAR(arch, mask_depths=depths, ptr=ptr, out_indices=(0, 1, 2))
    net = randomise(net).to(F64)
    reference = Net(net.state_dict(), training=True)
    x = torch.randn(2, 3, 32, 29, dtype=F64)
    assert_same(net, net(x), reference, cifar(reference, x, 2, depths, ptr), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('unit', UNITS)
def test_every_option_uses_every_parameter(unit):
    """No gradient is missing or zero, so data-parallel training needs no search for unused parameters."""
    for learning, attention, structure, skip in product(
        ('arl', 'nal'), ('mixed', 'channel', 'spatial'), ('encdec', 'conv'), ('official', 'port')
    ):
        net = small(
            unit,
            modules=(0, 1),
            learning=learning,
            attention=attention,
            mask_struct=structure,
            mask_skip=skip,
            out_indices=(1,),
        )
        step(net, torch.randn(2, 3, 48, 48))
        unused = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
        assert unused == [], (learning, attention, structure, skip)


SUBSETS = list(chain.from_iterable(combinations(range(4), n) for n in range(1, 5)))


@pytest.mark.parametrize('out_norm', [False, True])
def test_chosen_stages(out_norm):
    """Any choice returns what the whole net does, builds nothing beyond its last stage and uses all of it."""
    x = torch.randn(2, 3, 32, 32)
    whole = small(out_indices=range(4), out_norm=out_norm).eval()
    raw = small(out_indices=range(4)).eval()
    raw.load_state_dict(whole.state_dict(), strict=False)
    expected = whole(x)
    for i, (out, plain) in enumerate(zip(expected, raw(x), strict=True)):
        normed = getattr(whole, f'norm{i}')(plain) if out_norm and i < 3 else plain
        torch.testing.assert_close(out, normed)
        assert (out.min() >= 0) == (out_norm or i == 3)
    for chosen in SUBSETS:
        net = small(out_indices=chosen, out_norm=out_norm)
        assert net.load_state_dict(whole.state_dict(), strict=False).missing_keys == []
        assert all(torch.equal(a, expected[i]) for a, i in zip(net.eval()(x), chosen, strict=True))
        step(net.train(), x)
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    shuffled = small(out_indices=[-1, 1], out_norm=out_norm)
    assert shuffled.out_indices == (1, 3)


def test_port_and_official_share_weights_not_function():
    official, port = small().eval(), small(mask_skip='port').eval()
    port.load_state_dict({k: v for k, v in official.state_dict().items() if k != 'stored_settings'})
    x = torch.randn(2, 3, 64, 64)
    assert (official(x)[0] - port(x)[0]).abs().max() > 1e-3


# --- initialisation


def test_he_initialisation():
    net = ResidualAttentionNet(dict(stem_channels=64, channels=(64, 128, 128, 256)))
    net.init_weights()
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.07)
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in norms(net))


@pytest.mark.parametrize('unit', UNITS)
def test_masks_that_start_as_one_half(unit):
    """``mask_init='zero'``: every fusion multiplies by 1.5 exactly, and the masks still learn."""
    net = small(unit, mask_init='zero')
    net.init_weights()
    pairs = []
    for module in net.modules():
        if isinstance(module, AttentionModule):
            module.trunk.register_forward_hook(lambda _, args, out: pairs.append([out]))
            module.post.register_forward_pre_hook(lambda _, args: pairs[-1].append(args[0]))
    with record_masks(net) as masks:
        step(net, torch.randn(2, 3, 64, 64))
    assert len(pairs) == 3
    assert all(torch.equal(h, 1.5 * trunk) for trunk, h in pairs)
    assert all((mask == 0.5).all() for mask in masks.values())
    assert all(m.conv2.weight.grad.any() for m in net.modules() if isinstance(m, MaskHead))


@pytest.mark.parametrize('mask_init', ['he', 'zero'])
@pytest.mark.parametrize('alone', [True, False])
def test_loaded_weights_are_kept(tmp_path, mask_init, alone):
    """``Pretrained``, alone or after other initialisers, has the last word."""
    trained = small()
    torch.save(trained.state_dict(), tmp_path / 'weights.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    init_cfg = pretrained if alone else [dict(type='Kaiming', layer='Conv2d'), pretrained]
    net = ResidualAttentionNet(SMALL, mask_init=mask_init, init_cfg=init_cfg)
    net.init_weights()
    assert differing(trained.state_dict(), net.state_dict()) == []


@pytest.mark.filterwarnings('ignore:init_weights')
def test_a_second_initialisation_changes_nothing():
    """As mmengine's modules do: a trained net that is handed to a new runner keeps its masks."""
    net = small(mask_init='zero')
    net.init_weights()
    randomise(net)
    nn.init.normal_(net.stage1.attention1.mask.head.conv2.weight)
    trained = deepcopy(net.state_dict())
    net.init_weights()
    assert differing(trained, net.state_dict()) == []


def test_masks_without_a_direction_are_refused():
    """X / |x| at zero: neither 0.5 nor anything to learn from."""
    with pytest.raises(ValueError, match='mask_init'):
        small(attention='channel', mask_init='zero')


# --- freezing


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('frozen_stages', range(-1, 5))
def test_frozen_stages(frozen_stages, with_cp):
    """Neither gradients nor changed running statistics up to the frozen stage, both after it."""
    net = small(out_indices=range(4), out_norm=True, frozen_stages=frozen_stages, with_cp=with_cp)
    parts = ['stem', 'stage1', 'stage2', 'stage3', 'stage4'][: frozen_stages + 1]

    def frozen(name):
        return name.split('.')[0] in parts

    net.eval()
    net.train()  # as the loop does after each validation
    statistics = {name: b for name, b in net.named_buffers() if name != 'stored_settings'}
    before = {name: b.clone() for name, b in statistics.items()}
    step(net, torch.randn(2, 3, 48, 48))
    for name, p in net.named_parameters():
        expected = frozen(name) or (frozen_stages == 4 and name.startswith('norm3.'))
        assert p.requires_grad != expected
        assert (p.grad is None) == expected, name
    for name, buffer in statistics.items():
        expected = frozen(name) or (frozen_stages == 4 and name.startswith('norm3.'))
        assert torch.equal(buffer, before[name]) == expected, name


def test_a_wholly_frozen_net_does_not_change():
    net = small(frozen_stages=4).train()
    assert not any(p.requires_grad for p in net.parameters())
    before = deepcopy(net.state_dict())
    net(torch.randn(2, 3, 48, 48))
    assert differing(before, net.state_dict()) == []


def test_norm_eval():
    """Running statistics stay, everything is trained, and dropout of other modules is none of its business."""
    net = small(norm_eval=True)
    net.add_module('extra', nn.Dropout())
    net.eval()
    net.train()
    assert net.training
    assert net.extra.training
    before = {name: b.clone() for name, b in net.named_buffers()}
    x = torch.randn(2, 3, 48, 48)
    state = step(net, x)
    assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())
    assert torch.equal(state['out 0'], net.eval()(x)[0])


# --- memory, layout and types


@pytest.mark.parametrize('unit', UNITS)
@pytest.mark.parametrize(
    'options', [{}, dict(norm_eval=True), dict(frozen_stages=1), dict(frozen_stages=0)], ids=str
)
def test_recomputation_changes_nothing(unit, options):
    """Outputs, gradients, running statistics and batch counters to the last bit, over two batches."""
    plain = small(unit, out_indices=(1, 3), **options)
    recomputed = ResidualAttentionNet(ARCHS[unit], UNITS[unit], out_indices=(1, 3), with_cp=True, **options)
    recomputed.load_state_dict(plain.state_dict())
    batches = torch.randn(2, 2, 3, 40, 40)
    assert differing(step(plain.train(), *batches), step(recomputed.train(), *batches)) == []
    counter = plain.stage3.transition
    counts = [b.item() for name, b in counter.named_buffers() if name.endswith('tracked')]
    assert set(counts) == {0 if options.get('norm_eval') else 2}


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('unit', UNITS)
def test_channels_last(unit, with_cp):
    plain = small(unit, modules=(1, 1), with_cp=with_cp).to(F64)
    last = deepcopy(plain).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 40, 56, dtype=F64)
    a, b = step(plain, x), step(last, x.to(memory_format=torch.channels_last))
    assert b['out 0'].is_contiguous(memory_format=torch.channels_last)
    for name in a:
        size = a[name].abs().max().clamp(min=1)
        torch.testing.assert_close(b[name] / size, a[name] / size, rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize('attention', ['mixed', 'channel', 'spatial'])
@pytest.mark.parametrize('unit', UNITS)
def test_autocast(unit, attention):
    """As close to single precision as rounded weights alone; gradients finite and in the parameters' own type."""
    net = small(unit, modules=(1, 1), attention=attention, out_indices=(1,), with_cp=True)
    exact, rounded = deepcopy(net), deepcopy(net).bfloat16().float()
    x = torch.randn(4, 3, 64, 64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (out,) = net(x)
        out.float().square().mean().backward()
    (expected,), (nearby,) = exact(x), rounded(x)
    assert (out - expected).norm() < 5 * (nearby - expected).norm() < 0.5 * expected.norm()
    grads = [p.grad for p in net.parameters()]
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in grads)


@pytest.mark.parametrize(
    'norm_cfg', [dict(type='GN', num_groups=2), dict(type='SyncBN'), dict(type='BN', eps=1e-3)]
)
def test_other_normalisation(norm_cfg):
    net = ResidualAttentionNet(SMALL, norm_cfg=norm_cfg | dict(requires_grad=True))
    net.init_weights()
    kind = dict(GN=nn.GroupNorm, SyncBN=nn.SyncBatchNorm, BN=nn.BatchNorm2d)[norm_cfg['type']]
    assert all(isinstance(m, kind) for m in net.modules() if isinstance(m, nn.GroupNorm | _BatchNorm))
    assert sum(isinstance(m, kind) for m in net.modules()) > 100
    if norm_cfg['type'] == 'SyncBN':  # trains on GPUs only
        net.eval()
    state = step(net, torch.randn(2, 3, 64, 64))
    assert all(g is not None for name, g in state.items() if name.startswith('grad'))
    if norm_cfg['type'] == 'GN':  # no picture depends on the others
        x = torch.randn(3, 3, 64, 64)
        torch.testing.assert_close(net(x)[0][1:2], net(x[1:2])[0], rtol=1e-4, atol=1e-5)


def test_normalisation_without_gradients():
    net = ResidualAttentionNet(SMALL, norm_cfg=dict(type='BN', requires_grad=False))
    assert not any(p.requires_grad for m in norms(net) for p in m.parameters())


@pytest.mark.parametrize('channels', [1, 5])
def test_pictures_of_other_channels(channels):
    assert small(in_channels=channels).stem.conv.weight.shape == (4, channels, 7, 7)
    net = ResidualAttentionNet_CIFAR(dict(stem_channels=4, channels=(8, 8, 16)), in_channels=channels)
    (out,) = net(torch.randn(2, channels, 17, 16))
    assert out.shape == (2, 16, 5, 4)


@pytest.mark.parametrize('unit', UNITS)
@pytest.mark.parametrize(
    'copy', [deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=['deepcopy', 'pickle']
)
def test_copies(unit, copy):
    """Equal and apart."""
    net = small(unit, modules=(1, 1), with_cp=True, frozen_stages=0, norm_eval=True)
    twin = copy(net)
    batches = torch.randn(1, 2, 3, 40, 40)
    assert differing(step(net, *batches), step(twin, *batches)) == []
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert differing(step(net, *batches), step(twin, *batches)) != []
    assert [m.training for m in net.train().modules()] == [m.training for m in twin.train().modules()]


def test_options_that_keep_the_names_of_weights():
    """Weights move between nets that differ in anything but layers."""
    options = [
        dict(with_cp=True), dict(norm_eval=True), dict(frozen_stages=2),
        dict(mask_init='zero'), dict(out_indices=(0, 3)),
    ]  # fmt: skip
    state = small().state_dict()
    for option in options:
        small(**option).load_state_dict(state, strict=True)


# --- errors

REFUSED = [
    (dict(arch='101'), r"arch must be one of '56', '92', got '101'"),
    (
        dict(arch=dict(width=3)),
        r"arch must be a dict with some of stem_channels, channels.* got \{'width': 3\}",
    ),
    (dict(arch=dict(channels=(8, 16))), r'has \d entries for the 2 stages of .* which are the default'),
    (
        dict(arch=dict(modules=(1, 1, 1, 1, 1))),
        r'modules has 5 entries for the 4 stages .*\(1, 1, 1, 1, 1\)$',
    ),
    (dict(arch=dict(strides=(1, 0, 2, 2))), r'strides takes whole numbers of 1 or more, got \(1, 0, 2, 2\)'),
    (dict(arch=dict(stem_channels=0)), 'stem_channels takes whole numbers of 1 or more, got 0'),
    (dict(arch=dict(units=(0, -1))), 'units takes whole numbers of 0 or more'),
    (dict(ptr=1), r'p >= 0.*got \(1,\)'),
    (dict(ptr=(1, 2, 1.0)), r'ptr takes whole numbers of 0 or more, got \(1, 2, 1\.0\)'),
    (dict(modules='123'), "modules takes whole numbers of 0 or more, got '123'"),
    (dict(unit=dict(type='preact', groups=3)), r"unit='preact' takes no \['groups'\]"),
    (dict(unit=dict(type='resnext', groups=0)), 'groups must be a whole number of 1 or more, got 0'),
    (dict(unit=dict(type='resnext', norm=3)), r"takes no \['norm'\], only \['groups'\]"),
    (dict(out_indices=None), 'out_indices must be different stages'),
    (dict(in_channels=0), 'in_channels must be a whole number of 1 or more, got 0'),
    (dict(frozen_stages=None), 'frozen_stages must lie between -1 and 4, .* got None'),
    (dict(attention='channel', mask_init='zero'), "mask_init='zero' leaves"),
    (dict(unit='bottleneck'), "unit must be one of 'preact', 'resnext', 'inception', got 'bottleneck'"),
    (dict(unit=dict(groups=4)), 'unit must be one of .* got None'),
    (dict(unit=dict(type='resnext', groups=5)), 'groups=5'),
    (dict(arch=dict(channels=(6, 8, 8, 8))), 'PreActUnit splits its channels in 4 parts, got channels=6'),
    (dict(learning='none'), "learning must be one of 'arl', 'nal', got 'none'"),
    (dict(attention='f1'), "attention must be one of 'mixed', 'channel', 'spatial', got 'f1'"),
    (dict(mask_struct='unet'), "mask_struct must be one of 'encdec', 'conv', got 'unet'"),
    (dict(mask_skip=True), "mask_skip must be one of 'official', 'port', got True"),
    (dict(mask_init='ones'), "mask_init must be one of 'he', 'zero', got 'ones'"),
    (dict(pool_style='tf'), "pool_style must be one of 'torch', 'caffe', got 'tf'"),
    (dict(ptr=(1, 2)), r'ptr must be three numbers with p >= 0, t >= 1 and r >= 1, got \(1, 2\)'),
    (dict(ptr=(-1, 2, 1)), r'ptr takes whole numbers of 0 or more, got \(-1, 2, 1\)'),
    (dict(ptr=(1, 0, 1)), r't >= 1.*got \(1, 0, 1\)'),
    (dict(ptr=(1, 2, 0)), r'r >= 1.*got \(1, 2, 0\)'),
    (dict(modules=(1, -1)), r'modules takes whole numbers of 0 or more, got \(1, -1\)'),
    (dict(mask_depths=(1, -1)), r'mask_depths takes whole numbers of 0 or more, got \(1, -1\)'),
    (dict(out_indices=(4,)), r'out_indices must be different stages between 0 and 3, got \(4,\)'),
    (dict(out_indices=(-5,)), r'between 0 and 3, got \(-5,\)'),
    (dict(out_indices=(1, 1)), r'different stages.*got \(1, 1\)'),
    (dict(out_indices=(3, -1)), r'different stages.*got \(3, -1\)'),
    (dict(out_indices=()), r'out_indices must be different stages.*got \(\)'),
    (dict(frozen_stages=5), 'frozen_stages must lie between -1 and 4, the built stages, got 5'),
    (dict(frozen_stages=-2), 'frozen_stages must lie between -1 and 4'),
    (dict(frozen_stages=3, out_indices=(1,)), 'frozen_stages must lie between -1 and 2'),
    (dict(unit='resnext', out_norm=True), "out_norm=True is for unit='preact'"),
]


@pytest.mark.parametrize('kwargs, match', REFUSED, ids=lambda x: str(x) if isinstance(x, dict) else '')
def test_refused(kwargs, match):
    with torch.device('meta'), pytest.raises(ValueError, match=match):
        ResidualAttentionNet(**kwargs)


def test_refused_by_the_cifar_family():
    with pytest.raises(
        ValueError, match="arch must be one of '56', '92', '128', '164', '236', '452', got '110'"
    ):
        ResidualAttentionNet_CIFAR('110')
    with pytest.raises(ValueError, match='between 0 and 2'):
        ResidualAttentionNet_CIFAR('56', out_indices=(3,))


def test_layer_depth():
    """Stem 0, then transition, modules and units in order; what closes the net shares the head's."""
    net = small(modules=(1, 2, 1))
    depths = {
        name: net.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in net.named_parameters()
    }
    assert {total for _, total in depths.values()} == {1 + 2 + 3 + 2 + 3 + 1}
    assert depths['stem.conv.weight'][0] == 0
    assert (
        depths['stage2.attention2.mask.head.conv1.weight'][0]
        == depths['stage2.attention1.pre.0.conv1.weight'][0] + 1
        == 5
    )
    assert depths['norm3.0.weight'][0] == 11
    assert [d for d, _ in depths.values()] == sorted(d for d, _ in depths.values())


def test_a_last_batch_of_one_small_picture_is_explained():
    """Its mask has one cell, of which there is no variance: a line with the layer and what to change, in any step."""
    arch = dict(stem_channels=4, channels=(8,), strides=(1,), modules=(1,), units=(0,), mask_depths=(3,))
    model = ResidualAttentionNet(arch).train()
    steps = StepCounter()
    steps.mode = 'train'
    steps.stepped.add('train')
    assert model(torch.rand(2, 3, 32, 32))[0].shape == (2, 8, 8, 8)
    with pytest.raises(ValueError) as caught:
        model(torch.rand(1, 3, 32, 32))
    said = str(explain_stumble(model, steps, caught.value))
    assert 'stage1.attention1.mask.body.bottom.0.norm1' in said and 'drop_last=True' in said
    assert '\n' not in said

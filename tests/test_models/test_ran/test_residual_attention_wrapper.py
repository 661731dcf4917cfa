"""Masks around the stages of other backbones: what they compute, what loads, what learns."""

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS

import mmlattn.register  # noqa: F401

RESNET = dict(
    type='mmpretrain.ResNet', depth=18, base_channels=16, stem_channels=16, out_indices=(0, 1, 2, 3)
)


@pytest.fixture(autouse=True)
def _quiet_scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def wrap(backbone=RESNET, stages=('layer3',), **kwargs):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type='mmlattn.ResidualAttentionWrapper', backbone=backbone, stages=stages, **kwargs)
    )


@pytest.fixture
def pictures():
    return torch.randn(2, 3, 65, 97, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('learning', ['arl', 'nal'])
def test_the_stage_is_the_fusion_of_trunk_and_mask(pictures, learning):
    """By hand: first block, then the other blocks as trunk, times 1 + M or M; other stages untouched."""
    model = wrap(stages=dict(layer2=2), learning=learning).eval()
    net = model.backbone
    with torch.no_grad():
        x = net.layer1(net.maxpool(net.relu(net.norm1(net.conv1(pictures)))))
        split = getattr(net.layer2, '0')(x)
        trunk = getattr(net.layer2, '1')(split)
        mask = net.layer2.mask(split, trunk)
        fused = (1 + mask) * trunk if learning == 'arl' else mask * trunk
        expected = (x, fused, net.layer3(fused), net.layer4(net.layer3(fused)))
        for ours, theirs in zip(model(pictures), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ('backbone', 'stages', 'settings'),
    [
        (RESNET, dict(layer1=3, layer2=2, layer3=1, layer4=0), dict(mask_ratio=0.25)),
        (dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[16, 16, 32, 32]),
              gap_before_final_norm=False), {'stages.2': 1}, dict(pre=0)),
        (dict(type='mmpretrain.RegNet', arch='regnetx_400mf'), ['layer2'], dict(unit='resnext', mask_ratio=1)),
        (dict(type='mmpretrain.SEResNet', depth=50, base_channels=16, stem_channels=16), ['layer1'],
         dict(attention='spatial', mask_bias=-2.0)),
    ],
)  # fmt: skip
def test_weights_of_the_backbone_load_and_every_parameter_learns(pictures, backbone, stages, settings):
    model = wrap(backbone, stages, **settings)
    plain = MODELS.build(backbone)
    result = model.backbone.load_state_dict(plain.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert result.missing_keys and all('.mask.' in key for key in result.missing_keys)
    with torch.no_grad():
        shapes = [out.shape for out in plain(pictures)]
    outs = model(pictures)
    assert [out.shape for out in outs] == shapes
    sum(out.square().mean() for out in outs).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ('bias', 'factor'), [(None, 1.5), (-6.0, 1 + torch.sigmoid(torch.tensor(-6.0)).item())]
)
def test_zero_masks_scale_the_stage_and_leave_the_rest(pictures, bias, factor):
    model = wrap(stages=['layer4'], mask_init='zero', mask_bias=bias)
    model.init_weights()
    plain = MODELS.build(RESNET)
    plain.load_state_dict({k: v for k, v in model.backbone.state_dict().items() if '.mask.' not in k})
    model.eval(), plain.eval()
    with torch.no_grad():
        for i, (ours, theirs) in enumerate(zip(model(pictures), plain(pictures), strict=True)):
            torch.testing.assert_close(ours, theirs * factor if i == 3 else theirs)


def test_pretrained_weights_survive_initialisation(tmp_path, pictures):
    plain = MODELS.build(RESNET)
    torch.manual_seed(3)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(
        dict(state_dict={f'backbone.{k}': v for k, v in plain.state_dict().items()}), tmp_path / 'in.pth'
    )
    source = dict(type='Pretrained', checkpoint=str(tmp_path / 'in.pth'), prefix='backbone.')
    model = wrap(dict(RESNET, init_cfg=source))
    before = model.backbone.layer3.mask.head.conv1.weight.clone()
    model.init_weights()
    for key, value in plain.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value), key
    std = model.backbone.layer3.mask.head.conv1.weight.std().item()
    assert std == pytest.approx((2 / 64) ** 0.5, rel=0.05), 'He: sqrt(2 / fan out), 64 channels out of a 1x1'
    assert not torch.equal(before, model.backbone.layer3.mask.head.conv1.weight)

    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'whole.pth')
    again = wrap(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth')))
    again.init_weights()
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_building_leaves_no_trace_in_statistics():
    """The small picture that tells the channels must not count as data."""
    model = wrap()
    statistics = {name: value for name, value in model.named_buffers() if name != 'stored_settings'}
    for name, value in statistics.items():
        assert value.eq(1 if name.endswith('var') else 0).all(), name
    assert model.training and model.backbone.layer3.mask.training


def test_norm_eval_of_the_backbone_spares_the_masks():
    model = wrap(dict(RESNET, norm_eval=True)).train()
    assert not getattr(model.backbone.layer3, '0').bn1.training
    assert model.backbone.layer3.mask.head.norm2.training


@pytest.mark.parametrize(
    ('backbone', 'stages'),
    [
        (dict(RESNET, frozen_stages=4, norm_eval=True), dict(layer2=2, layer4=0)),
        (dict(type='mmpretrain.MobileNetV2', widen_factor=0.25, frozen_stages=7), dict(layer5=2, layer6=1)),
    ],
)
def test_masks_learn_beside_frozen_stages(backbone, stages, pictures):
    """A step of the optimizer changes every mask, its statistics too, and nothing of the frozen stages."""
    model = wrap(backbone, stages, mask_ratio=0.25).train()
    frozen = [name for name in model.state_dict() if '.layer' in name and '.mask.' not in name]
    masks = [name for name, _ in model.named_parameters() if '.mask.' in name]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], eps=0)
    sum(out.square().mean() for out in model(pictures)).backward()
    optimizer.step()
    after = model.state_dict()
    assert frozen and all(torch.equal(after[name], before[name]) for name in frozen)
    assert len(model.masks()) == len(stages) and masks
    assert not [name for name in masks if torch.equal(after[name], before[name])]
    statistics = [name for name in after if '.mask.' in name and name.endswith('running_mean')]
    assert not [name for name in statistics if torch.equal(after[name], before[name])]


def test_masks_that_were_frozen_on_purpose_stay_so():
    model = wrap()
    model.masks()[0].requires_grad_(False)
    assert not any(p.requires_grad for p in model.train().masks()[0].parameters())


def test_a_narrow_mask_costs_about_a_sixth():
    def size(ratio):
        masks = wrap(dict(type='mmpretrain.ResNet', depth=50), mask_ratio=ratio).masks()
        return sum(p.numel() for p in masks[0].parameters())

    # Widths C = 1024 and w = 256: C w in, two units of 17/16 w^2, w^2 and w C in the head, BN aside.
    assert size(0.25) / size(1) == pytest.approx(
        (2 * 4 + 2 * 17 / 16 + 1) / (16 * (2 * 17 / 16 + 2)), rel=0.01
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(stages=['layer5']), "no stage 'layer5'"),
        (dict(stages=['conv1']), 'must be an nn.Sequential'),
        (dict(stages=[]), 'at least one stage'),
        (dict(stages='layer3'), 'at least one stage'),
        (dict(pre=2), 'at least one of the 2 blocks'),
        (dict(pre=0), 'does not split after 0 blocks'),
        (dict(mask_ratio=0), 'mask_ratio must be more than 0'),
        (dict(learning='both'), "one of 'arl', 'nal', got 'both'"),
        (dict(backbone=dict(RESNET, out_indices=(1,))), 'nothing that ResNet returns depends on'),
        (
            dict(backbone=dict(RESNET, out_indices=(1,), frozen_stages=2)),
            'nothing that ResNet returns depends on',
        ),
        (dict(stages=3), 'at least one stage'),
        (dict(stages=dict(layer3=-1)), 'the depth of a mask must be a whole number of 0 or more, got -1'),
        (dict(pre=1.0), r'pre must be a whole number of 0 or more, got 1\.0'),
        (dict(mask_bias='a'), "mask_bias must be a finite number, got 'a'"),
        (dict(mask_ratio='a'), "mask_ratio must be a finite number, got 'a'"),
        (dict(attention='channel', mask_bias=1.0), "attention='channel' normalises"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        wrap(**arguments)


def test_masks_of_the_backbone_itself_are_left_alone(tmp_path):
    """A residual attention network inside: its own masks load, freeze and start as it says."""
    arch = dict(stem_channels=4, channels=(8, 8, 8, 8))
    inside = dict(type='mmlattn.ResidualAttentionNet', arch=arch, norm_eval=True)
    trained = MODELS.build(inside)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'in.pth')
    source = dict(type='Pretrained', checkpoint=str(tmp_path / 'in.pth'))
    model = wrap(dict(inside, init_cfg=source), ['stage4'], mask_init='zero')
    model.init_weights()
    for key, value in trained.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value), key
    model.train()
    assert not model.backbone.stage1.attention1.mask.head.norm2.training
    assert model.backbone.stage4.mask.head.norm2.training
    assert len(model.masks()) == 1


@pytest.mark.parametrize(
    ('backbone', 'stage'),
    [
        (dict(RESNET, norm_cfg=dict(type='BN', requires_grad=False)), 'layer3'),
        (dict(RESNET, in_channels=1), 'layer3'),
        (dict(RESNET, with_cp=True), 'layer3'),
        (dict(type='mmpretrain.MobileNetV2'), 'layer3'),
    ],
)
def test_backbones_with_ways_of_their_own(backbone, stage):
    model = wrap(backbone, [stage])
    assert model.masks() and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ('backbone', 'stage', 'last_block'),
    [
        (dict(type='mmpretrain.ResNet', depth=50), 'layer3', 'layer3.5.conv3'),
        (dict(type='mmpretrain.SEResNet', depth=50), 'layer2', 'layer2.3.conv3'),
        (dict(type='mmpretrain.ConvNeXt', arch='tiny'), 'stages.2', 'stages.2.8.norm'),
    ],
)
def test_layerwise_learning_rates_follow_the_backbone(backbone, stage, last_block):
    """Each parameter of the backbone learns as fast as without the wrapper, a mask as the last block of its stage."""
    from mmpretrain.models import build_classifier

    def depths(backbone):
        head = dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=8)
        model = build_classifier(dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head))
        return {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}

    plain = depths(backbone)
    wrapped = depths(dict(type='mmlattn.ResidualAttentionWrapper', backbone=backbone, stages=[stage]))
    masks = {name: depth for name, depth in wrapped.items() if '.mask.' in name}
    assert {
        name.replace('backbone.backbone.', 'backbone.'): d for name, d in wrapped.items() if name not in masks
    } == plain
    assert len(set(plain.values())) > 5
    assert masks and set(masks.values()) == {plain[f'backbone.{last_block}.weight']}


@pytest.mark.parametrize(
    ('backbone', 'stage'),
    [
        (dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8), 'layer3'),
        (dict(type='mmpretrain.RegNet', arch='regnetx_400mf'), 'layer3'),
        (dict(type='mmpretrain.ConvNeXt', arch='atto'), 'stages.2'),
    ],
)
def test_a_plain_classifier_starts_the_wrapper(backbone, stage, tmp_path):
    """As ``load_from`` reads it; the wrapper's own file still loads, and another backbone's weights are not taken."""
    plain = torch.nn.ModuleDict(dict(backbone=MODELS.build(backbone)))
    torch.save(dict(state_dict=plain.state_dict()), tmp_path / 'plain.pth')
    model = torch.nn.ModuleDict(dict(backbone=wrap(backbone, [stage])))
    masks = {name: value.clone() for name, value in model.state_dict().items() if '.mask.' in name}
    load_checkpoint(model, str(tmp_path / 'plain.pth'), strict=False)
    state = model.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name.replace('backbone.', 'backbone.backbone.', 1)], value), name
    assert masks and all(torch.equal(state[name], value) for name, value in masks.items())
    torch.nn.ModuleDict(dict(backbone=wrap(backbone, [stage]))).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r'backbone\.backbone\.other\.weight'):
        model.load_state_dict(state | {'backbone.other.weight': torch.zeros(1)})

"""Weights know with which settings they were trained."""

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmlattn.models import ResidualAttentionNet, ResidualAttentionWrapper
from mmlattn.models.ran.state_dicts import from_mmlattn
from mmlattn.utils.stored_settings import decode_settings

SMALL = dict(stem_channels=4, channels=(8, 8, 8, 8))
DEFAULTS = dict(
    learning='arl', attention='mixed', mask_skip='official', pool_style='torch', align_corners=True
)
OTHERS = [
    ('learning', 'nal'), ('attention', 'channel'), ('attention', 'spatial'), ('mask_skip', 'port'),
    ('pool_style', 'caffe'), ('align_corners', False),
]  # fmt: skip


@pytest.mark.parametrize(('name', 'value'), OTHERS)
@pytest.mark.parametrize('strict', [True, False])
def test_weights_of_other_settings_are_refused(name, value, strict):
    trained, network = ResidualAttentionNet(SMALL, **{name: value}), ResidualAttentionNet(SMALL)
    state = trained.state_dict()
    ResidualAttentionNet(SMALL, **{name: value}).load_state_dict(state)
    with pytest.raises(ValueError, match=f'trained with {name}={value!r}'):
        network.load_state_dict(state, strict=strict)
    del state['stored_settings']
    network.load_state_dict(state)  # strictly: without settings they are taken to agree
    assert decode_settings(network.stored_settings) == DEFAULTS


def test_checkpoints_of_the_framework_carry_them(tmp_path):
    """As CheckpointHook writes and load_from reads, loosely, inside a model."""
    inside = torch.nn.ModuleDict(dict(backbone=ResidualAttentionNet(SMALL, learning='nal')))
    torch.save(dict(state_dict=inside.state_dict()), tmp_path / 'a.pth')
    other = torch.nn.ModuleDict(dict(backbone=ResidualAttentionNet(SMALL)))
    with pytest.raises(ValueError, match=r'backbone\.stored_settings'):
        load_checkpoint(other, str(tmp_path / 'a.pth'), strict=False)


def test_the_wrapper_keeps_its_own():
    resnet = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    trained = ResidualAttentionWrapper(resnet, ['layer3'], attention='channel')
    with pytest.raises(ValueError, match="attention='channel'"):
        ResidualAttentionWrapper(resnet, ['layer3']).load_state_dict(trained.state_dict())


def test_no_layout_gets_weights_of_other_settings():
    network = torch.nn.ModuleDict(dict(backbone=ResidualAttentionNet(SMALL, learning='nal')))
    with pytest.raises(ValueError, match='they would compute something else'):
        from_mmlattn(network.state_dict(), 'caffe')

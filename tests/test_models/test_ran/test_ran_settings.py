"""Weights know with which settings they were trained."""

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmlattn.models import ResidualAttentionNet, ResidualAttentionWrapper
from mmlattn.models.ran.settings import RAN_SETTINGS
from mmlattn.models.ran.state_dicts import from_mmlattn

SMALL = dict(stem_channels=4, channels=(8, 8, 8, 8))
OTHERS = [(name, value) for name, known in RAN_SETTINGS.choices.items() for value in known[1:]]


@pytest.mark.parametrize(('name', 'value'), OTHERS)
@pytest.mark.parametrize('strict', [True, False])
def test_weights_of_other_settings_are_refused(name, value, strict):
    trained, network = ResidualAttentionNet(SMALL, **{name: value}), ResidualAttentionNet(SMALL)
    state = trained.state_dict()
    ResidualAttentionNet(SMALL, **{name: value}).load_state_dict(state)
    with pytest.raises(ValueError, match=f'trained with {name}={value!r}'):
        network.load_state_dict(state, strict=strict)
    del state['ran_settings']
    network.load_state_dict(state)  # strictly: without settings they are taken to agree
    assert RAN_SETTINGS.decode(network.ran_settings)[name] == RAN_SETTINGS.choices[name][0]


def test_codes_stay_as_they_are():
    """They are in people's checkpoints."""
    assert RAN_SETTINGS.encode().tolist() == [0, 0, 0, 0, 0]
    last = {name: known[-1] for name, known in RAN_SETTINGS.choices.items()}
    assert RAN_SETTINGS.encode(**last).tolist() == [1, 2, 1, 1, 1]
    assert (
        RAN_SETTINGS.decode(RAN_SETTINGS.encode(**last))
        == last
        == dict(
            learning='nal', attention='spatial', mask_skip='port', pool_style='caffe', align_corners=False
        )
    )


def test_checkpoints_of_the_framework_carry_them(tmp_path):
    """As CheckpointHook writes and load_from reads, loosely, inside a model."""
    inside = torch.nn.ModuleDict(dict(backbone=ResidualAttentionNet(SMALL, learning='nal')))
    torch.save(dict(state_dict=inside.state_dict()), tmp_path / 'a.pth')
    other = torch.nn.ModuleDict(dict(backbone=ResidualAttentionNet(SMALL)))
    with pytest.raises(ValueError, match=r'backbone\.ran_settings'):
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


def test_codes_of_other_versions():
    network = ResidualAttentionNet(SMALL)
    older = dict(network.state_dict(), ran_settings=torch.zeros(3, dtype=torch.uint8))
    network.load_state_dict(older)
    for codes in ([9, 0, 0, 0, 0], [0] * 6):
        with pytest.raises(ValueError, match='newer version'):
            network.load_state_dict({**older, 'ran_settings': torch.tensor(codes, dtype=torch.uint8)})


def test_a_network_from_the_meta_device_regains_them():
    with torch.device('meta'):
        network = ResidualAttentionNet(SMALL, learning='nal')
    network.to_empty(device='cpu')
    network.ran_settings.fill_(7)
    network.init_weights()
    assert RAN_SETTINGS.decode(network.ran_settings)['learning'] == 'nal'

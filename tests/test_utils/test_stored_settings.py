"""Weights trained with other settings are refused, in words that fit the checkpoint at hand."""

import pytest
import torch
from mmengine.model import BaseModule, ExponentialMovingAverage
from torch import nn

from mmlattn.utils import UserError
from mmlattn.utils.stored_settings import StoredSettings, decode_settings, encode_settings


class Neck(StoredSettings, BaseModule):
    def __init__(self, **settings):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.store_settings(**settings)


SETTINGS = dict(
    pool='max', steps=3, share=0.1, clip=True, anchor=None, sizes=(7, 7), circle=dict(radius=2**-0.5)
)
OTHERS = dict(
    pool='avg', steps=4, share=0.1 + 1e-9, clip=False, anchor='center', sizes=(7, 8), circle=dict(radius=0.5)
)  # fmt: skip


def test_settings_come_back_as_they_were():
    code = encode_settings(**SETTINGS)
    assert code.dtype == torch.uint8
    assert decode_settings(code) == {**SETTINGS, 'sizes': [7, 7]}


@pytest.mark.parametrize('name', SETTINGS)
@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('wrap', [lambda model: model, ExponentialMovingAverage])
def test_each_other_setting_is_named_as_in_the_checkpoint(name, strict, wrap):
    ours, theirs = (
        wrap(nn.ModuleDict(dict(neck=Neck(**settings))))
        for settings in (SETTINGS, SETTINGS | {name: OTHERS[name]})
    )
    with pytest.raises(
        UserError, match=rf'trained with {name}=.*network has {name}=.*"neck\.stored_settings"'
    ):
        ours.load_state_dict(theirs.state_dict(), strict=strict)


def test_equal_settings_and_files_without_them_load():
    trained, network = Neck(**SETTINGS), Neck(**SETTINGS)
    state = trained.half().state_dict()
    network.load_state_dict(state)
    assert torch.equal(network.fc.weight, trained.fc.weight.float())
    del state['stored_settings']
    network.load_state_dict(state)  # strictly
    assert decode_settings(network.stored_settings)['pool'] == 'max'


def test_an_average_with_buffers_keeps_them():
    network = Neck(**SETTINGS)
    average = ExponentialMovingAverage(network, momentum=0.3, update_buffers=True)
    for _ in range(3):
        average.update_parameters(network)
    assert torch.equal(average.module.stored_settings, network.stored_settings)


def test_older_and_newer_files():
    network = Neck(**SETTINGS)
    older = {name: value for name, value in SETTINGS.items() if name != 'clip'}
    network.load_state_dict(Neck(**older).state_dict())
    with pytest.raises(UserError, match='halo=2'):
        network.load_state_dict(Neck(**SETTINGS, halo=2).state_dict())


@pytest.mark.parametrize('code', [[255, 254], list(b'[1]'), list(b'{')])
def test_damaged_settings_are_named(code):
    network = Neck(**SETTINGS)
    state = network.state_dict() | {'stored_settings': torch.tensor(code, dtype=torch.uint8)}
    with pytest.raises(UserError, match='damaged'):
        network.load_state_dict(state)


def test_a_changed_setting_is_stored():
    network = Neck(lam=0.1)
    network.store_settings(lam=0.123456789)
    assert decode_settings(network.stored_settings) == dict(lam=0.123456789)
    Neck(lam=0.123456789).load_state_dict(network.state_dict())


def test_a_network_from_the_meta_device_regains_them():
    with torch.device('meta'):
        network = Neck(**SETTINGS)
    network.to_empty(device='cpu')
    network.stored_settings.fill_(7)
    network.init_weights()
    assert decode_settings(network.stored_settings)['pool'] == 'max'

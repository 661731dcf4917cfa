"""Weights trained with other settings are refused, in words that fit the checkpoint at hand."""

import pytest
from mmengine.model import BaseModule, ExponentialMovingAverage
from torch import nn

from mmlattn.models.stored_settings import SettingsCode, StoresSettings
from mmlattn.utils import UserError


class Neck(StoresSettings, BaseModule):
    settings_code = SettingsCode('neck_settings', pool=('max', 'avg'))

    def __init__(self, pool):
        super().__init__()
        self.store_settings(pool=pool)


@pytest.mark.parametrize('wrap', [lambda model: model, ExponentialMovingAverage])
def test_the_setting_is_named_as_in_the_checkpoint(wrap):
    models = [nn.ModuleDict(dict(neck=Neck(pool))) for pool in ('max', 'avg')]
    trained, own = map(wrap, models)
    with pytest.raises(
        UserError, match=r"pool='max', this network has pool='avg'.*delete \"neck\.neck_settings\""
    ):
        own.load_state_dict(trained.state_dict())

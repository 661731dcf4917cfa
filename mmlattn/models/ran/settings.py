"""The settings of residual attention that its weights are stored with."""

from mmlattn.models.stored_settings import SettingsCode

__all__ = ['RAN_SETTINGS']

RAN_SETTINGS = SettingsCode(
    'ran_settings',
    learning=('arl', 'nal'),
    attention=('mixed', 'channel', 'spatial'),
    mask_skip=('official', 'port'),
    pool_style=('torch', 'caffe'),
    align_corners=(True, False),
)

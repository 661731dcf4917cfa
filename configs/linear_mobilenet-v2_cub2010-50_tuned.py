"""linear_mobilenet-v2 on birds, whose last two stages and last convolution learn too, at a thirtieth of the rate."""

_base_ = 'linear_mobilenet-v2_cub2010-50.py'

model = dict(backbone=dict(frozen_stages=5))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(_delete_=True, backbone=dict(lr_mult=0.03))))

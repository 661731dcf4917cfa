"""ImageNet's MobileNetV2 as it is, with soft masks that learn beside its fifth and sixth stage."""

_base_ = 'linear_mobilenet-v2_cub2010-50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmlattn.ResidualAttentionWrapper',
        backbone=_base_.model.backbone,
        stages=dict(layer5=1, layer6=0),
        mask_ratio=0.5,
        mask_init='zero',
        # sigmoid(-3) = 0.05: the network starts nearly as it was, and masks can still open in eight short epochs.
        mask_bias=-3,
    )
)
# The last convolution is the one part of the trunk that frozen_stages can not name.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(_delete_=True, **{'backbone.backbone.conv2': dict(lr_mult=0.0, decay_mult=0.0)})
    )
)

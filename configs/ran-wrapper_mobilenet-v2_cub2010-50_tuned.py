"""ran-wrapper_mobilenet-v2 on birds, whose last two stages and last convolution learn too."""

_base_ = 'ran-wrapper_mobilenet-v2_cub2010-50.py'

model = dict(backbone=dict(backbone=dict(frozen_stages=5)))
# The longest name counts: masks learn at the full rate.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            _delete_=True,
            **{
                'backbone.backbone.layer5.mask': dict(lr_mult=1.0),
                'backbone.backbone.layer6.mask': dict(lr_mult=1.0),
                'backbone': dict(lr_mult=0.03),
            },
        )
    )
)

# Eight epochs of StampScenes, the same for every head. The backbone does not learn.
_base_ = './multidigits_8e.py'

optim_wrapper = dict(
    optimizer=dict(lr=3e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.0, decay_mult=0.0)))
)

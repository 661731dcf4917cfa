# The same for CSRA and its linear baseline; only the head learns.
_base_ = './multidigits_8e.py'

optim_wrapper = dict(
    optimizer=dict(lr=3e-3), paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.0, decay_mult=0.0)))
)

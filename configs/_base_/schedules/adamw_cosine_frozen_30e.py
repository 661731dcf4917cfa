# adamw_cosine_30e.py for what stands above a fixed backbone: its rate is 0 to the end.
_base_ = './adamw_cosine_30e.py'

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone.': dict(lr_mult=0.0, decay_mult=0.0)}))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, eta_min=0.0, convert_to_iter_based=True),
]

_base_ = [
    './_base_/datasets/stampscenes.py',
    './_base_/models/st-lstm_mobilenet-v2_frozen.py',
    './_base_/schedules/stampscenes_8e.py',
    './_base_/default_runtime.py',
]

model = dict(head=dict(with_evidence=True))
# Faster, regions move before there are features to follow.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.loc': dict(lr_mult=0.1)}))
test_evaluator = [
    dict(type='mmlattn.MultiLabelReport'),
    dict(type='mmlattn.PointingGame'),
    dict(type='mmlattn.CorLoc'),
]

custom_hooks = [
    dict(type='mmlattn.ReproducibilityHook'),
    dict(type='mmlattn.ClassNamesHook'),
    dict(type='mmlattn.RegionDiagnosticsHook', interval=10),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

"""ST-LSTM on scenes of photo cut-outs above a fixed MobileNetV2: a demo of docs/demo.md, minutes on a CPU."""

_base_ = [
    '_base_/datasets/stampscenes.py',
    '_base_/models/st-lstm_mobilenet-v2_frozen.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/demo_runtime.py',
]

# Faster, regions move before there are features to follow.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.loc': dict(lr_mult=0.1)}))
test_evaluator = [*_base_.test_evaluator, dict(type='mmlattn.PointingGame'), dict(type='mmlattn.CorLoc')]
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.RegionDiagnosticsHook', interval=10)]

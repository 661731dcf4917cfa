"""CSRA on scenes of photo cut-outs above a fixed MobileNetV2: a demo of docs/demo.md, minutes on a CPU."""

_base_ = [
    '_base_/datasets/stampscenes.py',
    '_base_/models/csra_mobilenet-v2_frozen.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/demo_runtime.py',
]

test_evaluator = [*_base_.test_evaluator, dict(type='mmlattn.PointingGame')]

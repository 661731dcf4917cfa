"""CSRA on small scenes of handwritten digits: a demo of docs/demo.md, minutes on a CPU."""

_base_ = [
    '_base_/datasets/multidigits.py',
    '_base_/models/csra_resnet-mini.py',
    '_base_/schedules/multidigits_8e.py',
    '_base_/demo_runtime.py',
]

test_evaluator = [*_base_.test_evaluator, dict(type='mmlattn.PointingGame')]

"""RA-CNN around one ResNet-50, FGVC-Aircraft at 448. Not measured."""

_base_ = [
    '_base_/models/racnn_r50.py',
    '_base_/datasets/aircraft_448.py',
    '_base_/schedules/racnn_sgd_81e.py',
    '_base_/racnn_runtime.py',
]

model = dict(head=dict(num_classes=100))

test_evaluator = [*_base_.test_evaluator, dict(type='mmlattn.ScaleAccuracy')]

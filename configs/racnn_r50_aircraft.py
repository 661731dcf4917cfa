"""RA-CNN around one ResNet-50, FGVC-Aircraft at 448. Not measured."""

_base_ = [
    '_base_/models/racnn_r50.py',
    '_base_/datasets/aircraft_448.py',
    '_base_/schedules/racnn_sgd_81e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))

test_evaluator = [
    dict(type='Accuracy', topk=(1, 5)),
    dict(type='mmlattn.ScaleAccuracy'),
]

custom_hooks = [
    dict(type='mmlattn.ReproducibilityHook'),
    dict(type='mmlattn.ClassNamesHook'),
    {{_base_.phase_hook}},
]

"""RA-CNN around one ResNet-50, CUB-200-2011 at 448. Not measured."""

_base_ = [
    '_base_/models/racnn_r50.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/racnn_sgd_81e.py',
    '_base_/racnn_runtime.py',
]

test_evaluator = [
    *_base_.test_evaluator,
    dict(type='mmlattn.ScaleAccuracy'),
    dict(type='mmlattn.RegionQuality', center_crop=True),
]

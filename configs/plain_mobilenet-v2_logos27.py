"""MobileNetV2 on photographs of 27 brands, each as one picture of 128 x 128: what docs/racnn.md compares with."""

_base_ = [
    '_base_/models/plain_mobilenet-v2.py',
    '_base_/datasets/logos27.py',
    '_base_/schedules/logos27_6e.py',
    '_base_/demo_runtime.py',
]

train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], scale=128),
    _base_.train_pipeline[2],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(_base_.test_pipeline[1], scale=(128, 128)),
    _base_.test_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

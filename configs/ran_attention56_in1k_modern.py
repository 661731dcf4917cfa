"""Attention-56 as we would train it today: cosine, warm-up, label smoothing, masks that start even. Not measured."""

_base_ = [
    '_base_/models/ran_attention56.py',
    '_base_/datasets/imagenet_modern.py',
    '_base_/schedules/ran_imagenet_modern_100e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(mask_init='zero'),
    head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
)

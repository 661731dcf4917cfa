"""ImageNet's MobileNetV2 as it is and a linear classifier, on 50 classes of birds: the comparison in docs/ran.md."""

_base_ = [
    '_base_/models/linear_mobilenet-v2_frozen.py',
    '_base_/datasets/cub2010-50_160.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/default_runtime.py',
]

model = dict(
    head=dict(
        _delete_=True,
        type='LinearClsHead',
        num_classes=200,
        in_channels=1280,
        init_cfg=_base_.model.head.init_cfg,
    )
)
default_hooks = dict(logger=dict(interval=8), checkpoint=dict(interval=8, save_best=None))

"""Average pooling and a linear classifier above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs."""

_base_ = [
    '_base_/datasets/coco18_224.py',
    '_base_/models/efficientnet-lite0_frozen.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/demo_runtime.py',
]

data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)
optim_wrapper = dict(optimizer=dict(lr=1e-3))

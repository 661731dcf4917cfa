"""RA-CNN, three VGG-19, CUB-200-2011 at 448: the paper's networks, for which it reports 85.3 %. Not measured."""

_base_ = [
    '_base_/models/racnn_vgg19.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/racnn_sgd_81e.py',
    '_base_/racnn_runtime.py',
]

# Without batch normalisation VGG needs a lower rate than ResNet.
optim_wrapper = dict(optimizer=dict(lr=0.001))

test_evaluator = [
    *_base_.test_evaluator,
    dict(type='mmlattn.ScaleAccuracy'),
    dict(type='mmlattn.RegionQuality', center_crop=True),
]

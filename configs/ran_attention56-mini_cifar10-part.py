"""A narrow Attention-56 on 10,000 pictures of CIFAR-10: the comparison in docs/ran.md."""

_base_ = [
    '_base_/models/ran-mini.py',
    '_base_/datasets/cifar10-part_32.py',
    '_base_/schedules/cifar10-part_4e.py',
    '_base_/default_runtime.py',
]

# Stride 2 from the start quarters the cost.
model = dict(backbone=dict(arch=dict(strides=(2, 2, 2)), in_channels=3))
default_hooks = dict(checkpoint=dict(interval=4, max_keep_ckpts=1, save_best=None))

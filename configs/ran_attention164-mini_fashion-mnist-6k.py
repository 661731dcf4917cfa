"""A narrow Attention-164, four attention modules a stage, on 6,000 pictures: the comparison in docs/ran.md."""

_base_ = [
    '_base_/models/ran-mini.py',
    '_base_/datasets/fashion-mnist-6k_32.py',
    '_base_/schedules/fashion-mnist-6k_10e.py',
    '_base_/default_runtime.py',
]

# Stride 2 from the start quarters the cost.
model = dict(backbone=dict(arch=dict(modules=(4, 4, 4), strides=(2, 2, 2))))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))

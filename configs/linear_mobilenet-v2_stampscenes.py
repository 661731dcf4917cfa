_base_ = [
    './_base_/datasets/stampscenes.py',
    './_base_/models/linear_mobilenet-v2_frozen.py',
    './_base_/schedules/stampscenes_8e.py',
    './_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

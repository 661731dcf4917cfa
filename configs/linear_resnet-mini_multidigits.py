_base_ = [
    './_base_/datasets/multidigits.py',
    './_base_/models/linear_resnet-mini.py',
    './_base_/schedules/multidigits_8e.py',
    './_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

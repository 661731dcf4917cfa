"""The equal-recipe baseline of the CNN-RNN on DigitSets: each label by itself, by binary cross-entropy."""

_base_ = [
    './_base_/datasets/digit-sets.py',
    './_base_/models/linear_resnet-mini.py',
    './_base_/schedules/multidigits_8e.py',
    './_base_/default_runtime.py',
]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

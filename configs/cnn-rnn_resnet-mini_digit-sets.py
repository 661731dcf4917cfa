"""CNN-RNN on scenes whose labels go together by rule: the demo of docs/cnn_rnn.md, minutes on a CPU."""

_base_ = [
    './_base_/datasets/digit-sets.py',
    './_base_/models/cnn-rnn_resnet-mini.py',
    './_base_/schedules/multidigits_8e.py',
    './_base_/default_runtime.py',
]

model = dict(head=dict(with_evidence=True))

custom_hooks = [
    dict(type='mmlattn.ReproducibilityHook'),
    dict(type='mmlattn.ClassNamesHook'),
    dict(type='mmlattn.LabelFrequencyHook'),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

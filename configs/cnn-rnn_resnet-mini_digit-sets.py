"""CNN-RNN on scenes whose labels go together by rule: the demo of docs/cnn_rnn.md, minutes on a CPU."""

_base_ = [
    '_base_/datasets/digit-sets.py',
    '_base_/models/cnn-rnn_resnet-mini.py',
    '_base_/schedules/multidigits_8e.py',
    '_base_/demo_runtime.py',
]

custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

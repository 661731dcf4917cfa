"""CNN-RNN, VGG-16, NUS-WIDE at 224, three labels for each picture: the paper's recipe as far as it is known."""

_base_ = [
    '_base_/models/cnn-rnn_vgg16.py',
    '_base_/datasets/nus-wide_224.py',
    '_base_/schedules/cnn-rnn_rmsprop_30e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=81, test_cfg=dict(min_len=3, max_len=3)))
val_evaluator = [dict(type='mmlattn.MultiLabelReport', map_at=(10,)), dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

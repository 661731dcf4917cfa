"""CNN-RNN, VGG-16, COCO 2014 at 224: the paper's recipe as far as it is known; later papers list 61.2 mAP@10."""

_base_ = [
    '_base_/models/cnn-rnn_vgg16.py',
    '_base_/datasets/coco14_224.py',
    '_base_/schedules/cnn-rnn_rmsprop_30e.py',
    '_base_/default_runtime.py',
]

val_evaluator = [dict(type='mmlattn.MultiLabelReport', map_at=(10,)), dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

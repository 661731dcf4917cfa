"""CNN-RNN, VGG-16, VOC 2007 at 224: the paper's recipe as far as it is known; later papers list 84.0 mAP."""

_base_ = [
    '_base_/models/cnn-rnn_vgg16.py',
    '_base_/datasets/voc07_224.py',
    '_base_/schedules/cnn-rnn_rmsprop_30e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=20))
val_evaluator = [*_base_.val_evaluator, dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

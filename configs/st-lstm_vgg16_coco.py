"""ST-LSTM, VGG-16, COCO 2014 at 512: the paper's recipe, for which later papers list 73.4 mAP."""

_base_ = [
    '_base_/models/st-lstm_vgg16.py',
    '_base_/datasets/coco14_512.py',
    '_base_/schedules/st-lstm_adam_45e.py',
    '_base_/default_runtime.py',
]

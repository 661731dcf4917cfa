"""ST-LSTM, VGG-16, VOC 2007 at 512: the paper's recipe; with a second one at 640 later papers list 91.9 mAP."""

_base_ = [
    '_base_/models/st-lstm_vgg16.py',
    '_base_/datasets/voc07_512.py',
    '_base_/schedules/st-lstm_adam_45e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=20))

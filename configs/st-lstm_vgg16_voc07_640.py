"""The paper's second model for VOC 2007, at 640 pixels. Averaging its scores with the first's is ours."""

_base_ = [
    '_base_/models/st-lstm_vgg16.py',
    '_base_/datasets/voc07_640.py',
    '_base_/schedules/st-lstm_adam_45e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=20))

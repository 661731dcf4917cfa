"""The paper's second model for COCO 2014, at 640 pixels. Averaging its scores with the first's is ours."""

_base_ = [
    '_base_/models/st-lstm_vgg16.py',
    '_base_/datasets/coco14_640.py',
    '_base_/schedules/st-lstm_adam_45e.py',
    '_base_/default_runtime.py',
]

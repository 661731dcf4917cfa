"""Equal-recipe baseline of the demos on MultiDigits: average pooling and a linear classifier."""

_base_ = [
    '_base_/datasets/multidigits.py',
    '_base_/models/linear_resnet-mini.py',
    '_base_/schedules/multidigits_8e.py',
    '_base_/demo_runtime.py',
]

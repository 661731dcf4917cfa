"""Equal-recipe baseline of CNN-RNN on DigitSets: each label by itself, by binary cross-entropy."""

_base_ = [
    '_base_/datasets/digit-sets.py',
    '_base_/models/linear_resnet-mini.py',
    '_base_/schedules/multidigits_8e.py',
    '_base_/demo_runtime.py',
]

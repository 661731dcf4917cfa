"""Equal-recipe baseline of the demos on StampScenes: average pooling and a linear classifier."""

_base_ = [
    '_base_/datasets/stampscenes.py',
    '_base_/models/linear_mobilenet-v2_frozen.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/demo_runtime.py',
]

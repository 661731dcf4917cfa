"""CSRA above a fixed MobileNetV2 on long-tailed data, binary cross-entropy: what docs/imbalance.md compares with."""

_base_ = [
    '_base_/datasets/coco18-lt_224.py',
    '_base_/models/csra_mobilenet-v2_frozen.py',
    '_base_/schedules/stampscenes_8e.py',
    '_base_/demo_runtime.py',
]

model = dict(head=dict(num_classes=18, loss=dict(type='mmlattn.MaskedBCELoss')))
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

"""Attention-56 on ImageNet-1k by the paper's recipe. Published: 21.76 / 5.9 % error; not measured here."""

_base_ = [
    '_base_/models/ran_attention56.py',
    '_base_/datasets/imagenet_ran.py',
    '_base_/schedules/ran_imagenet_530k.py',
    '_base_/iter_runtime.py',
]

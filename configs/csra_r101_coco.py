"""CSRA, ResNet-101, COCO 2014 at 448: the authors' recipe, whose released checkpoint has 83.3 mAP."""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/coco14_448.py',
    '_base_/schedules/csra_sgd_30e.py',
    '_base_/default_runtime.py',
]

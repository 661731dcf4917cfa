"""CSRA, ResNet-101, COCO 2014, with six heads instead of four: what the authors' training command passes."""

_base_ = 'csra_r101_coco.py'

model = dict(head=dict(num_heads=6))

"""Attention-92 on ImageNet-1k by the paper's recipe; its published 19.5 / 4.8 % error is at 320 pixels (_320.py)."""

_base_ = 'ran_attention56_in1k.py'

model = dict(backbone=dict(arch='92'))

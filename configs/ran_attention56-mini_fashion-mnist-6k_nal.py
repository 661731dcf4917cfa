"""Naive attention learning with one attention module a stage."""

_base_ = './ran_attention56-mini_fashion-mnist-6k.py'

model = dict(backbone=dict(learning='nal'))

"""One attention module a stage."""

_base_ = './ran_attention164-mini_fashion-mnist-6k.py'

model = dict(backbone=dict(arch=dict(modules=(1, 1, 1))))

"""ran_attention164-mini with one attention module a stage instead of four."""

_base_ = 'ran_attention164-mini_fashion-mnist-6k.py'

model = dict(backbone=dict(arch=dict(modules=(1, 1, 1))))

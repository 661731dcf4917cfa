"""The trunk of ran_attention164-mini without masks, deepened until it costs the same multiply-adds."""

_base_ = 'ran_attention164-mini_fashion-mnist-6k.py'

model = dict(backbone=dict(arch=dict(modules=(0, 0, 0), units=(29, 28, 26))))

"""The trunk of ran_attention56-mini without masks, deepened until it costs the same multiply-adds."""

_base_ = 'ran_attention56-mini_cifar10-part.py'

model = dict(backbone=dict(arch=dict(modules=(0, 0, 0), units=(8, 8, 7))))

"""The trunk of ran_attention56-mini without masks: as many units one after the other."""

_base_ = 'ran_attention56-mini_cifar10-part.py'

model = dict(backbone=dict(arch=dict(modules=(0, 0, 0), units=(5, 5, 5))))

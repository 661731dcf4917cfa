"""Attention-236, CIFAR-10: the RAN paper's recipe (published: 4.14 % error)."""

_base_ = 'ran_attention92_cifar10.py'

model = dict(backbone=dict(arch='236'))

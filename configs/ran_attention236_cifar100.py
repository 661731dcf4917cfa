"""Attention-236, CIFAR-100: the RAN paper's recipe (published: 21.16 % error)."""

_base_ = 'ran_attention92_cifar100.py'

model = dict(backbone=dict(arch='236'))

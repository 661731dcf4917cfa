"""Attention-452, CIFAR-100: the RAN paper's recipe (published: 20.45 % error with 8.6M parameters; here 10.2M)."""

_base_ = 'ran_attention92_cifar100.py'

model = dict(backbone=dict(arch='452'))

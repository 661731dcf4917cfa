"""Attention-452, CIFAR-10: the RAN paper's recipe (published: 3.90 % error with 8.6M parameters; here 10.2M)."""

_base_ = 'ran_attention92_cifar10.py'

model = dict(backbone=dict(arch='452'))

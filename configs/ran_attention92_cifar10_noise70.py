"""Attention-92, CIFAR-10 with 70 % of the training labels wrong, all else as without."""

_base_ = 'ran_attention92_cifar10_noise10.py'

train_dataloader = dict(dataset=dict(level=0.7))

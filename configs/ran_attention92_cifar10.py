"""Attention-92, CIFAR-10: the RAN paper's recipe (published: 4.99 % error)."""

_base_ = [
    '_base_/models/ran_cifar.py',
    '_base_/datasets/cifar10_ran.py',
    '_base_/schedules/ran_cifar_160k.py',
    '_base_/iter_runtime.py',
]

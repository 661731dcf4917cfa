"""Attention-92, CIFAR-100: the RAN paper's recipe (published: 21.71 % error)."""

_base_ = [
    '_base_/models/ran_cifar.py',
    '_base_/datasets/cifar100_ran.py',
    '_base_/schedules/ran_cifar_160k.py',
    '_base_/iter_runtime.py',
]

model = dict(head=dict(num_classes=100))

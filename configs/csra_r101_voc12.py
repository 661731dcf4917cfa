"""CSRA, ResNet-101, VOC 2012 at 448: the authors' recipe for VOC 2007, since they published none for 2012."""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/voc12_448.py',
    '_base_/schedules/csra_sgd_30e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=20, num_heads=1, lam=0.1))
param_scheduler = [_base_.param_scheduler[0], dict(type='StepLR', by_epoch=True, step_size=4, gamma=0.1)]

"""A stock mmpretrain config with its head replaced: the pattern for your own configs.

Only ``neck=None`` and the head belong to CSRA; the rest swaps ImageNet's data for COCO's.
"""

_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py', '_base_/datasets/coco14_448.py']

model = dict(
    neck=None,
    head=dict(_delete_=True, type='mmlattn.CSRAHead', num_classes=80, in_channels=2048, num_heads=1, lam=0.1),
)

# The loss is summed over 80 classes, as mmpretrain's heads do.
optim_wrapper = dict(optimizer=dict(lr=0.0005))
auto_scale_lr = dict(base_batch_size=16)

# Attention-56 of the CIFAR family at a quarter of its width, for one channel.
_base_ = './ran_cifar.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, stem_channels=8, channels=(16, 32, 64)),
        in_channels=1,
    ),
    head=dict(in_channels=64),
)

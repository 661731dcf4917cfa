"""The "Attention-92" of a widely used PyTorch port, CIFAR-10: for weights from tools/model_converters/convert_ran.py.

Not the paper's network, which is ran_attention92_cifar10.py: 12.2 million parameters instead of 1.8, four stages with
(1, 2, 3, 0) attention modules, no sampling in the third, and masks that add encoder features and trunk. The recipe is
the paper's.
"""

_base_ = 'ran_attention92_cifar10.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            stem_channels=32,
            channels=(128, 256, 512, 1024),
            strides=(1, 2, 2, 1),
            modules=(1, 2, 3),
            units=(0, 0, 0, 2),
            mask_depths=(2, 1, 0),
        ),
        mask_skip='port',
    ),
    head=dict(in_channels=1024),
)

# COCO 2014 at 448 x 448 without crops: a square of half the side cut out, RandAugment, ImageNet's colours.
_base_ = './coco14_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=False, backend='pillow'),
    dict(type='Cutout', shape=224, pad_val=[104, 116, 124], prob=1.0),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    _base_.pack_train,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

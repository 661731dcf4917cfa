# COCO 2014 at 448 x 448 with RandAugment, in ImageNet's colours and batches of 32.
_base_ = './coco14_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.5, 1.0), backend='pillow'),
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
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))

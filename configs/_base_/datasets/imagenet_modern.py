# ImageNet-1k as it is trained on today, counted in epochs: scale and aspect ratio, flips, mean and deviation.
_base_ = './imagenet_ran.py'

data_preprocessor = dict(std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
train_dataloader = dict(sampler=dict(type='DefaultSampler'), dataset=dict(pipeline=train_pipeline))

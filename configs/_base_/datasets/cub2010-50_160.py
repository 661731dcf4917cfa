# Birds in photographs at 160 x 160, few enough for a CPU: the first 50 of the 200 classes of Caltech-UCSD Birds 2010.
# 750 pictures for training, 745 for testing, all classes by dropping `indices`. In the file layout of CUB-200-2011.
data_preprocessor = dict(
    num_classes=200, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=160, crop_ratio_range=(0.4, 1.0), interpolation='area'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 160), interpolation='area'),
    dict(type='PackInputs'),
]

birds = dict(type='CUB', data_root='data/cub200_2010')
# Without workers none can persist, which mmpretrain's own train.py asks for otherwise.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(birds, split='train', indices=750, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(birds, split='test', indices=745, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

# PASCAL VOC 2007 at 448 x 448, as the CSRA code reads it: pixels / 255, PIL's antialiased bilinear. A class whose
# every object in an image is marked difficult is a negative in training and ignored in evaluation.
data_root = 'data/VOCdevkit/VOC2007'
data_preprocessor = dict(num_classes=20, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True, to_onehot=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.7, 1.0), backend='pillow'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=False, backend='pillow'),
    dict(type='PackInputs', algorithm_keys=('gt_label_difficult',)),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='VOC', data_root=data_root, split='trainval', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='VOC', data_root=data_root, split='test', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='mmlattn.MultiLabelReport')]
test_evaluator = val_evaluator

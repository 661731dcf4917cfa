# COCO 2017 at 448 x 448, as the CSRA code reads it: pixels / 255, PIL's antialiased bilinear, images without
# any annotation left out. docs/datasets.md has the folder tree.
data_root = 'data/coco/'
data_preprocessor = dict(num_classes=80, mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True, to_onehot=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.7, 1.0), backend='pillow'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=False, backend='pillow'),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels', 'gt_label_ignore')),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmlattn.COCOMultiLabel',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix='train2017',
        filter_empty=True,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmlattn.COCOMultiLabel',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix='val2017',
        filter_empty=True,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='mmlattn.MultiLabelReport')]
test_evaluator = val_evaluator

# Pictures with several labels at 448 x 448, as the CSRA code reads them: pixels / 255, PIL's antialiased bilinear.
# A file that inherits this adds num_classes and the data sets. docs/datasets.md has the folder trees.
data_preprocessor = dict(mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True, to_onehot=True)

# What a data set does not have is passed over. Losses leave unknown labels out; see docs/partial_labels.md.
pack_train = dict(type='PackInputs', algorithm_keys=('gt_label_ignore',))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.7, 1.0), backend='pillow'),
    pack_train,
]
pack_test = dict(
    type='PackInputs',
    algorithm_keys=('gt_boxes', 'gt_box_labels', 'gt_label_ignore', 'gt_label_difficult'),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), keep_ratio=False, backend='pillow'),
    pack_test,
]

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='mmlattn.MultiLabelReport')]
test_evaluator = val_evaluator

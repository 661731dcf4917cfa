# MultiDigits: 64 x 64 scenes of handwritten digits, made by tools/dataset_converters/multi_digits.py.
data_preprocessor = dict(num_classes=10, mean=[50, 50, 50], std=[64, 64, 64], to_rgb=True, to_onehot=True)

train_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),  # for pictures of one's own; the scenes have this size
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels')),
]

data_root = 'data/multidigits'
# Without workers none can persist, which mmpretrain's own train.py asks for otherwise.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmlattn.COCOMultiLabel',
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmlattn.COCOMultiLabel',
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix='val',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='mmlattn.MultiLabelReport')]
test_evaluator = val_evaluator

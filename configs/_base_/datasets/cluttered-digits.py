# One handwritten digit of 20 to 36 pixels in 128 x 128, among fragments of others, made by
# tools/dataset_converters/multi_digits.py --out data/cluttered-digits --canvas 128 --max-digits 1 --digit-size 20 36
#   --clutter 24
data_preprocessor = dict(num_classes=10, mean=[50, 50, 50], std=[64, 64, 64], to_rgb=True)

train_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128)),  # for pictures of one's own; the scenes have this size
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels')),
]

dataset_type = 'mmlattn.COCOMultiLabel'
data_root = 'data/cluttered-digits'
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix='train',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix='val',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='Accuracy'),
    dict(type='mmlattn.ScaleAccuracy'),
    dict(type='mmlattn.RegionQuality'),
]
test_evaluator = val_evaluator

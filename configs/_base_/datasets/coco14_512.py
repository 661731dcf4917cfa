# COCO 2014 as ST-LSTM reads it: pictures of 512 x 512, random crops 64 pixels smaller in training; pictures without
# any annotation are left out of training only.
_base_ = './coco14_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='RandomCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels', 'gt_label_ignore')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(filter_empty=False, pipeline=test_pipeline))
test_dataloader = val_dataloader

# A softmax over the classes gives each of three present ones about 1/3.
val_evaluator = [dict(type='mmlattn.MultiLabelReport', threshold=0.1)]
test_evaluator = val_evaluator

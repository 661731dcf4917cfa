# PASCAL VOC 2007 as ST-LSTM reads it, see coco14_512.py. Pictures whose every object is marked difficult have no
# label and are left out of training.
_base_ = './voc07_448.py'

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
    _base_.test_pipeline[-1],
]
train_dataloader = dict(dataset=dict(filter_empty=True, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# A softmax over the classes gives each of three present ones about 1/3.
val_evaluator = [dict(type='mmlattn.MultiLabelReport', threshold=0.1)]
test_evaluator = val_evaluator

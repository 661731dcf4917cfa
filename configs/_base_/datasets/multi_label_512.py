# Pictures with several labels as ST-LSTM reads them: 512 x 512, in training random crops 64 pixels smaller.
# The pipelines at 640 are those of the paper's second model.
_base_ = './multi_label_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    dict(type='RandomCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    _base_.pack_train,
]
test_pipeline = [train_pipeline[0], train_pipeline[1], _base_.pack_test]
train_pipeline_640 = [
    train_pipeline[0],
    dict(type='Resize', scale=(640, 640), keep_ratio=False),
    dict(type='RandomCrop', crop_size=576),
    *train_pipeline[3:],
]
test_pipeline_640 = [train_pipeline_640[0], train_pipeline_640[1], _base_.pack_test]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# A softmax over the classes gives each of three present ones about 1/3.
val_evaluator = [dict(type='mmlattn.MultiLabelReport', threshold=0.1)]
test_evaluator = val_evaluator

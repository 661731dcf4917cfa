"""The paper's second model for VOC 2007, at 640 pixels. Averaging its scores with the first's is ours."""

_base_ = ['st-lstm_vgg16_voc07.py']

train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='Resize', scale=(640, 640), keep_ratio=False),
    dict(type='RandomCrop', crop_size=576),
    *_base_.train_pipeline[3:],
]
test_pipeline = [_base_.test_pipeline[0], train_pipeline[1], _base_.test_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

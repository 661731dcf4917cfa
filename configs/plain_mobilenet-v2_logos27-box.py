"""MobileNetV2 shown the true box of each logo, a fifth larger: the most that zooming in could gain. docs/racnn.md."""

_base_ = './plain_mobilenet-v2_logos27.py'

around = dict(type='mmlattn.CropAroundBoxes', enlarge=1.2, least=1 / 3)
train_pipeline = [_base_.train_pipeline[0], around, *_base_.train_pipeline[1:]]
test_pipeline = [_base_.test_pipeline[0], around, *_base_.test_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

"""The paper's second model for COCO 2014, at 640 pixels. Averaging its scores with the first's is ours."""

_base_ = 'st-lstm_vgg16_coco.py'

train_pipeline = _base_.train_pipeline_640
test_pipeline = _base_.test_pipeline_640
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

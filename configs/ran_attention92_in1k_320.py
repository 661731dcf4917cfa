"""The same training, tested at 320 pixels."""

_base_ = './ran_attention92_in1k.py'

val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline_320}}))
test_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline_320}}))

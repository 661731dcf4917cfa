"""AttentionNeXt-56 trained as in ran_attentionnext56_in1k.py, tested at 320 pixels."""

_base_ = 'ran_attentionnext56_in1k.py'

val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline_320))
test_dataloader = val_dataloader

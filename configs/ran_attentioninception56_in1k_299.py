"""The same training, tested at 299 pixels, the size of the paper's row (20.36 / 5.29 % error, with its own unit)."""

_base_ = './ran_attentioninception56_in1k.py'

test_pipeline_299 = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=342, edge='short'),
    dict(type='CenterCrop', crop_size=299),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline_299))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline_299))

"""AttentionInception-56 tested at 299 pixels, as in the paper (20.36 / 5.29 % error, with a unit of its own)."""

_base_ = 'ran_attentioninception56_in1k.py'

test_pipeline_299 = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=342, edge='short'),
    dict(type='CenterCrop', crop_size=299),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline_299))
test_dataloader = val_dataloader

_base_ = [
    './_base_/datasets/multidigits.py',
    './_base_/models/st-lstm_resnet-mini.py',
    './_base_/schedules/multidigits_8e.py',
    './_base_/default_runtime.py',
]

model = dict(head=dict(with_evidence=True))
test_evaluator = [dict(type='mmlattn.MultiLabelReport'), dict(type='mmlattn.PointingGame')]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

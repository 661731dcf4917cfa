_base_ = [
    './_base_/datasets/stampscenes.py',
    './_base_/models/csra_mobilenet-v2_frozen.py',
    './_base_/schedules/stampscenes_8e.py',
    './_base_/default_runtime.py',
]

model = dict(head=dict(with_evidence=True))
test_evaluator = [dict(type='mmlattn.MultiLabelReport'), dict(type='mmlattn.PointingGame')]

default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))

"""A stock mmpretrain config with its head replaced: the pattern for a config of your own.

CSRA's part is ``model``. The rest swaps ImageNet's pictures and metric for COCO's and keeps everything else:
pipelines at 224 pixels, optimizer, schedule, runtime.
"""

_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

model = dict(
    neck=None,
    head=dict(_delete_=True, type='mmlattn.CSRAHead', num_classes=80, in_channels=2048, num_heads=1, lam=0.1),
)

data_preprocessor = dict(num_classes=80)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.COCOMultiLabel',
        data_root='data/coco/',
        ann_file='annotations/instances_train2014.json',
        data_prefix='train2014/',
        pipeline={{_base_.train_pipeline}},
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmlattn.COCOMultiLabel',
        data_root='data/coco/',
        ann_file='annotations/instances_val2014.json',
        data_prefix='val2014/',
        pipeline={{_base_.test_pipeline}},
        test_mode=True,
    )
)
val_evaluator = dict(_delete_=True, type='mmlattn.MultiLabelReport')
test_dataloader = val_dataloader
test_evaluator = val_evaluator

# Multi-label heads sum the loss over the classes, so the learning rate of the single-label loss is too large.
optim_wrapper = dict(optimizer=dict(lr=0.005))
auto_scale_lr = dict(base_batch_size=32)

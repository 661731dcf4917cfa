"""A pretrained ResNet-50 that learns quarter-width soft masks in three stages; it starts as it was. Not measured."""

_base_ = 'ran_attention56_in1k_modern.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmlattn.ResidualAttentionWrapper',
        backbone=dict(
            type='ResNet',
            depth=50,
            init_cfg=dict(
                type='Pretrained',
                checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
                'resnet50_8xb32_in1k_20210831-ea4938fc.pth',
                prefix='backbone',
            ),
        ),
        stages=dict(layer1=3, layer2=2, layer3=1),
        mask_ratio=0.25,
        mask_init='zero',
        mask_bias=-6,
    ),
)
# Fine-tuning: a tenth of the learning rate and of the epochs.
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=10, T_max=9, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10)

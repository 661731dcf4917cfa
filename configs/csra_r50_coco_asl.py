"""CSRA as we would train it today: ResNet-50, asymmetric loss, AdamW, EMA, RandAugment. Not measured on COCO yet."""

_base_ = ['csra_r101_coco.py']

model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth',
            prefix='backbone',
        ),
    ),
    head=dict(
        num_heads=1,
        lam=0.1,
        # The loss and its settings are those of Ridnik et al., ICCV 2021, who sum over classes.
        loss=dict(type='AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05, use_sigmoid=True),
        loss_reduction='sum_classes',
    ),
)

# These weights expect ImageNet's statistics.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomResizedCrop', scale=448, crop_ratio_range=(0.5, 1.0), backend='pillow'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={'head.': dict(lr_mult=10)}),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=2, eta_min=1e-7, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='mmlattn.ReproducibilityHook'),
    dict(type='mmlattn.ClassNamesHook'),
    dict(type='EMAHook', momentum=3e-4, priority='ABOVE_NORMAL'),
]
auto_scale_lr = dict(base_batch_size=32)

"""CSRA as we would train it today: ResNet-50, asymmetric loss, AdamW, EMA, RandAugment. Not measured on COCO yet."""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/coco14_448_randaug.py',
    '_base_/schedules/adamw_cosine_30e.py',
    '_base_/ema_runtime.py',
]

model = dict(
    backbone=dict(
        depth=50,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet50_8xb256-rsb-a1-600e_in1k_20211228-20e21305.pth',
            prefix='backbone',
        ),
    ),
    head=dict(
        num_heads=1,
        lam=0.1,
        # The loss and its settings are those of Ridnik et al., ICCV 2021. They sum over the pictures too, where this
        # is the mean, and hold the weight of an absent class constant, where mmpretrain's gradient passes through it.
        loss=dict(type='AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05, use_sigmoid=True),
        loss_reduction='sum_classes',
    ),
)

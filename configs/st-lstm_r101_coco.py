"""ST-LSTM as we would train it today: ResNet-101, every region supervised, asymmetric loss, AdamW, EMA, RandAugment.

Not measured on COCO yet. Equal recipe with another head: give this config the head of ``csra_r50_coco_asl.py``, from
which everything but backbone, neck and head comes.
"""

_base_ = ['csra_r50_coco_asl.py']

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet101_8xb32_in1k_20210831-539c63f8.pth'
        ),
    ),
    neck=dict(
        _delete_=True,
        type='mmlattn.STLSTM',
        in_channels=2048,
        num_steps=5,
        region_size=7,  # the cells of a region of scale 0.5 on the 14 x 14 map
        region_pool=None,
        region_embed='conv',
        embed_dims=1024,
        loc_param='residual_anchor',
        include_global=True,
    ),
    head=dict(
        _delete_=True,
        type='mmlattn.STLSTMHead',
        num_classes=80,
        in_channels=512,
        fuse='lse',
        loss=dict(type='AsymmetricLoss', gamma_pos=0.0, gamma_neg=4.0, clip=0.05, use_sigmoid=True),
        loc_weight=1.0,  # the loss is summed over 80 classes; the paper's is at most 2
        aux_step_weight=0.5,
        score_norm='sigmoid',
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'neck.loc': dict(lr_mult=1.0),  # at ten times, regions move before there are features to follow
            'neck.': dict(lr_mult=10),
        }
    )
)

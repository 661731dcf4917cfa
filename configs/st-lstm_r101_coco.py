"""ST-LSTM as we would train it today: ResNet-101, every region supervised, asymmetric loss, AdamW, EMA, RandAugment.

Not measured on COCO yet. ``csra_r50_coco_asl.py`` has the same recipe; for an equal backbone give it ResNet-101.
"""

_base_ = [
    '_base_/models/resnet101.py',
    '_base_/datasets/coco14_448_randaug.py',
    '_base_/schedules/adamw_cosine_30e.py',
    '_base_/ema_runtime.py',
]

model = dict(
    neck=dict(
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

# Attention-92 for CIFAR-10; the larger ones change arch.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmlattn.ResidualAttentionNet_CIFAR', arch='92'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=256,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        # He initialisation, as for the convolutions.
        init_cfg=dict(
            type='Kaiming', layer='Linear', mode='fan_in', nonlinearity='relu', distribution='normal'
        ),
    ),
)

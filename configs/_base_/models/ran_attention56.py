# Attention-56 with a linear head for ImageNet-1k.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmlattn.ResidualAttentionNet', arch='56', unit='preact'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)

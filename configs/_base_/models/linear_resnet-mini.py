# A ResNet-14 of CIFAR's kind, 16 to 64 channels wide, with a 16 x 16 map for a 64 x 64 picture.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        num_stages=3,
        stem_channels=16,
        base_channels=16,
        strides=(2, 2, 1),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=10,
        in_channels=64,
        thr=0.5,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        # As CSRAHead starts: uniform in +-1/sqrt(in_channels).
        init_cfg=dict(type='Uniform', layer='Linear', a=-0.125, b=0.125),
    ),
)

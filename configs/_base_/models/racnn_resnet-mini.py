# Three ResNet-14 of CIFAR's kind, 16 to 64 channels wide, with 8 x 8 maps. The first sees 128 x 128 pixels at 32 x
# 32, in which small things are lost; the others see crops of the whole picture at 32 x 32.
model = dict(
    type='mmlattn.RACNN',
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        num_stages=3,
        stem_channels=16,
        base_channels=16,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        loss=dict(type='CrossEntropyLoss'),
        # As CSRAHead starts: uniform in +-1/sqrt(in_channels).
        init_cfg=dict(type='Uniform', layer='Linear', a=-0.125, b=0.125),
    ),
    num_scales=3,
    localizer=dict(type='mmlattn.APN', form='light', in_channels=64, spatial=8),
    glance=32,
    # Sharpness times the side is 16: between the paper's two, 22.4 at 448 pixels and 11.2 at 224.
    crop=dict(size=32, grad='boxcar', sharpness=0.5, shrink=0.05, resample_from='image', antialias=True),
    # Trained on 3,000 scenes, an FC listens most to the scale that knows them by heart.
    fusion=None,
    with_evidence=True,
)

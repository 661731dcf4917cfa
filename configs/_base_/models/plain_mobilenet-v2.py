# ImageNet's MobileNetV2 for pictures of one label, of which the last stages learn.
# The first five of seven stages stay as they are: most of the time of a step on a CPU, a quarter of the weights.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='MobileNetV2',
        out_indices=(7,),
        frozen_stages=5,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='data/mobilenet_v2_imagenet.pth', prefix='backbone'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=27,
        in_channels=1280,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # As CSRAHead starts: uniform in +-1/sqrt(in_channels).
        init_cfg=dict(type='Uniform', layer='Linear', a=-0.028, b=0.028),
    ),
)

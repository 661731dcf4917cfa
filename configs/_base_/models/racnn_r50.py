# RA-CNN as we would use it today: one ResNet-50 for all three scales, light localizers, crops from the whole picture.
model = dict(
    type='mmlattn.RACNN',
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_eval=True,  # batches of a few pictures at three scales make poor statistics
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet50_3rdparty-mill_in21k_20220331-faac000b.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=200,
        in_channels=2048,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    num_scales=3,
    shared=True,
    localizer=dict(type='mmlattn.APN', form='light', in_channels=2048, spatial=7),
    crop=dict(size=224, grad='boxcar', resample_from='image', antialias=True),
    with_evidence=True,
)

"""CSRA above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(
    neck=None,
    head=dict(
        _delete_=True,
        type='mmlattn.CSRAHead',
        num_classes=18,
        in_channels=1280,
        num_heads=1,
        lam=0.3,
        thr=0.5,
        with_evidence=True,
    ),
)

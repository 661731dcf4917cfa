# The linear baseline of StampScenes with a CSRA head in place of pooling and classifier.
_base_ = './linear_mobilenet-v2_frozen.py'

model = dict(
    neck=None,
    head=dict(
        _delete_=True,
        type='mmlattn.CSRAHead',
        num_classes=12,
        in_channels=1280,
        num_heads=1,
        lam=0.3,
        thr=0.5,
        with_evidence=True,
    ),
)

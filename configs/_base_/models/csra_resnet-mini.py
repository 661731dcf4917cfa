# The linear baseline of MultiDigits with a CSRA head in place of pooling and classifier.
_base_ = './linear_resnet-mini.py'

model = dict(
    neck=None,
    head=dict(
        _delete_=True,
        type='mmlattn.CSRAHead',
        num_classes=10,
        in_channels=64,
        num_heads=1,
        lam=1.0,
        thr=0.5,
        with_evidence=True,
    ),
)

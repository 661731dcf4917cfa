"""Query2Label above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs; narrower than its paper's."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(
    neck=None,
    head=dict(
        _delete_=True,
        type='mmlattn.Query2LabelHead',
        num_classes=18,
        in_channels=1280,
        embed_dims=384,
        feedforward_dims=1536,
        thr=0.5,
        with_evidence=True,
    ),
)

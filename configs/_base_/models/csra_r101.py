# ResNet-101 with the authors' ImageNet weights and the CSRA head, for COCO (H=4, lam=0.5).
_base_ = 'resnet101.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='https://download.pytorch.org/models/resnet101-5d3b4d8f.pth',
        )
    ),
    neck=None,  # CSRA reads the map before pooling
    head=dict(
        type='mmlattn.CSRAHead', num_classes=80, in_channels=2048, num_heads=4, lam=0.5, loss_reduction='mean'
    ),
)

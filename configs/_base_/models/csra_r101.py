# ResNet-101 with the authors' ImageNet weights and the CSRA head, for COCO (H=4, lam=0.5).
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=101,
        num_stages=4,
        out_indices=(3,),
        style='pytorch',
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet101-5d3b4d8f.pth'
        ),
    ),
    neck=None,  # CSRA reads the map before pooling
    head=dict(
        type='mmlattn.CSRAHead', num_classes=80, in_channels=2048, num_heads=4, lam=0.5, loss_reduction='mean'
    ),
)

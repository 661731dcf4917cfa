# Three VGG-19 up to relu5_4 and two attention proposal networks. What is known of the paper and what is ours:
# docs/racnn.md.
model = dict(
    type='mmlattn.RACNN',
    backbone=dict(
        type='VGG',
        depth=19,
        num_classes=-1,
        out_indices=(4,),
        with_last_pool=False,  # stride 16: 28 x 28 cells at 448 pixels, 14 x 14 at 224
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/'
            'vgg19_batch256_imagenet_20210208-e6920e4a.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='mmlattn.ScaledLinearClsHead', num_classes=200, in_channels=512, scale=0.1),
    num_scales=3,
    localizer=dict(type='mmlattn.APN', form='fc', in_channels=512, border='clip', least=1 / 6),
    crop=dict(size=224, grad='boxcar', resample_from='parent'),
    rank_loss=dict(type='mmlattn.PairwiseRankLoss', margin=0.05),
    fusion=dict(type='mmlattn.ScaleFusionHead'),
    with_evidence=True,
)

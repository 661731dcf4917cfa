# VGG-16 up to relu5_3 and the paper's recurrence. What is known of the paper and what is ours: docs/st_lstm.md.
model = dict(
    type='mmlattn.MultiCropClassifier',  # tests on five windows of the feature map
    crops='five',
    margin=64,
    backbone=dict(
        type='VGG',
        depth=16,
        num_classes=-1,
        out_indices=(4,),
        with_last_pool=False,  # stride 16
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/'
            'vgg16_batch256_imagenet_20210208-db26f1a5.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(
        type='mmlattn.STLSTM',
        in_channels=512,
        num_steps=5,
        fc_from_vgg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/'
            'vgg16_batch256_imagenet_20210208-db26f1a5.pth'
        ),
    ),
    head=dict(type='mmlattn.STLSTMHead', num_classes=80, in_channels=512),
)

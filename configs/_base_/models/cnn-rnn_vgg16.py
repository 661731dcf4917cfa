# Frozen VGG-16 up to fc7 and the paper's decoder. What is known of the paper and what is ours: docs/cnn_rnn.md.
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='VGG',
        depth=16,
        num_classes=-1,
        frozen_stages=5,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/'
            'vgg16_batch256_imagenet_20210208-db26f1a5.pth',
            prefix='backbone',
        ),
    ),
    neck=dict(
        type='mmlattn.VGGFCNeck',
        frozen=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/'
            'vgg16_batch256_imagenet_20210208-db26f1a5.pth',
            prefix='backbone.classifier',
        ),
    ),
    head=dict(
        type='mmlattn.CNNRNNHead',
        num_classes=80,
        in_channels=4096,
        decoder=dict(type='joint', embed_dims=64, hidden_dims=512, dropout=0.5),
        order='freq',
        with_evidence=True,
    ),
)

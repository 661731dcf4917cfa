"""CSRA, ViT-L/16, COCO 2014 at 448.

The authors released checkpoints of this model (8 heads, 448) but neither its training code nor its recipe: lam,
the ImageNet weights at 384 and the pixel normalisation are our choice, the schedule is the ResNet one.
"""

_base_ = 'csra_r101_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='l',
        img_size=448,
        patch_size=16,
        out_type='featmap',  # the class token is dropped
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vit/finetune/'
            'vit-large-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-b20ba619.pth',
            prefix='backbone',
        ),
    ),
    head=dict(in_channels=1024, num_heads=8, lam=1.0),
)
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])

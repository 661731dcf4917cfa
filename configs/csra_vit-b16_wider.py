"""CSRA, ViT-B/16, WIDER Attribute at 224: the authors' recipe, whose released checkpoint has 89.0 mAP.

They start from ImageNet weights of 224 pixels; these are of 384, with positions resized on loading.
"""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/wider_224.py',
    '_base_/schedules/csra_sgd_30e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        arch='b',
        img_size=224,
        patch_size=16,
        out_type='featmap',  # the class token is dropped
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vit/finetune/'
            'vit-base-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-98e8652b.pth',
            prefix='backbone',
        ),
    ),
    # Their code takes an attribute that is not specified for absent; 'mask' leaves it out.
    head=dict(num_classes=14, in_channels=768, num_heads=1, lam=0.3, unknown='negative'),
)

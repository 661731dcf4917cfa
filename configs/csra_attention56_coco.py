"""CSRA on Attention-56: masks inside the backbone, class-specific attention above it. Not measured on COCO yet.

There are no released weights of Attention-56: train configs/ran_attention56_in1k.py first and start from them with
--cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=CKPT
model.backbone.init_cfg.prefix=backbone.
"""

_base_ = 'csra_r101_coco.py'

model = dict(
    backbone=dict(_delete_=True, type='mmlattn.ResidualAttentionNet', arch='56'),
    head=dict(num_heads=1, lam=0.1),
)
# The pixels that the ImageNet recipe of Attention-56 trains with.
data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[1, 1, 1])

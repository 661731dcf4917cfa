"""Faster R-CNN with a feature pyramid on Attention-56; everything else is mmdet's 1x schedule (8 GPUs x 2 images).

Weights of the Residual Attention Network were never published, so this starts from random ones, for which 12 epochs
are few. A checkpoint of your own (of ``ran_attention56_in1k.py``, say) comes in with

    --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE
    model.backbone.init_cfg.prefix=backbone. model.backbone.frozen_stages=1

Leave norm_eval off even then: the normalisation that out_norm adds is not in a classifier's checkpoint.
"""

_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmlattn.ResidualAttentionNet',
        arch='56',
        out_indices=(0, 1, 2, 3),
        out_norm=True,
        # Two pictures a GPU are too few for statistics of their own; without other processes SyncBN is BN.
        norm_cfg=dict(type='SyncBN', requires_grad=True),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
randomness = dict(seed=0)

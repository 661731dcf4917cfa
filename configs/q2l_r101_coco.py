"""Query2Label, ResNet-101, COCO 2014 at 448: the authors' recipe, whose released model has 84.9 mAP.

Sizes, loss, optimizer, schedule, moving average and batch are those of the command in their README
(SlongLiu/query2labels), the backbone's frozen parts those of their backbone.py. What differs: their RandAugment is
that of another library, and their cut-out square has a random colour; their schedule moves AdamW's first beta from
0.95 to 0.85 and back, where it stays at 0.9; they stop early, where this trains on and keeps the best. Dropout, the
margin of the loss and its constant weights are their code's. They train with --amp.
"""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/coco14_448_cutout.py',
    '_base_/schedules/adamw_onecycle_80e.py',
    '_base_/ema_runtime.py',
]

model = dict(
    # Statistics and weights of all norms, the stem and the first stage stay as they are.
    backbone=dict(frozen_stages=1, norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True),
    head=dict(_delete_=True, type='mmlattn.Query2LabelHead', num_classes=80, in_channels=2048),
)
train_dataloader = dict(batch_size=64)

"""ML-Decoder, ResNet-101, COCO 2014 at 448: the authors' recipe from ImageNet's weights. Not measured on COCO yet.

Sizes, loss, optimizer, schedule, moving average and batch are those of their train.py (Alibaba-MIIL/ML_Decoder).
What differs: they start from networks trained on ImageNet-21K or Open Images, TResNet in train.py, and take neither
mean nor deviation off the colours, where this has torchvision's ResNet-101 and its colours; their RandAugment is that
of the package randaugment as it comes, and their cut-out square has a random colour; their loss is summed over the
pictures, where this is the mean, which Adam hardly tells apart; their schedule moves Adam's first beta from 0.95 to
0.85 and back, where it stays at 0.9. They train with --amp.
"""

_base_ = [
    '_base_/models/csra_r101.py',
    '_base_/datasets/coco14_448_cutout.py',
    '_base_/schedules/adam_onecycle_40e.py',
    '_base_/ema_runtime.py',
]

model = dict(head=dict(_delete_=True, type='mmlattn.MLDecoderHead', num_classes=80, in_channels=2048))
train_dataloader = dict(batch_size=56)

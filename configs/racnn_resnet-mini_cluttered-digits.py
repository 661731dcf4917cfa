"""RA-CNN on one small digit in clutter: the demo of docs/racnn.md, minutes on a CPU."""

_base_ = [
    '_base_/models/racnn_resnet-mini.py',
    '_base_/datasets/cluttered-digits.py',
    '_base_/racnn_runtime.py',
]

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=20, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=32)

phases = dict(warmup=6, pretrain_apn=2, cls=3, apn=1, max_cycles=2, final=4, tolerance=None)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=47))

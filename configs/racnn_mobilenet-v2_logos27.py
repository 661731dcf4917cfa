"""RA-CNN on photographs of 27 brands, with squares of the highest response: minutes on a CPU."""

_base_ = [
    '_base_/models/racnn_mobilenet-v2.py',
    '_base_/datasets/logos27.py',
    '_base_/schedules/logos27_6e.py',
    '_base_/racnn_runtime.py',
]

# The localizer has nothing to learn.
phases = dict(warmup=0, pretrain_apn=0, cls=0, apn=0, max_cycles=0, final=6, tolerance=None)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None), logger=dict(interval=10))
val_evaluator = [
    *_base_.val_evaluator,
    dict(type='mmlattn.ScaleAccuracy'),
    dict(type='mmlattn.RegionQuality'),
]
test_evaluator = val_evaluator

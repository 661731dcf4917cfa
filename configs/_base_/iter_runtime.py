# default_runtime.py for schedules counted in iterations.
_base_ = './default_runtime.py'

default_hooks = dict(
    logger=dict(interval=100, log_metric_by_epoch=False),
    # The last checkpoint counts: CIFAR and ImageNet leave no data to choose a best one by.
    checkpoint=dict(by_epoch=False, interval=5000, save_best=None),
)
log_processor = dict(by_epoch=False)

# 10,000 pictures of CIFAR-10 in minutes on a CPU: four epochs in batches of 64, tested after the last.
_base_ = './fashion-mnist_6e.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1, end=4, T_max=3, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=4, val_interval=4)
auto_scale_lr = dict(base_batch_size=64)

# 10,000 pictures of CIFAR-10 in minutes on a CPU: six epochs in batches of 64, tested after the last.
_base_ = './fashion-mnist_6e.py'

train_cfg = dict(val_interval=6)
auto_scale_lr = dict(base_batch_size=64)

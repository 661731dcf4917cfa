# RAN on CIFAR: batch 64, a tenth of the learning rate at 64k and 96k iterations, 160k in all (205 epochs).
# Put down from memory of the paper; a second source, the author of a port, confirms only the epochs.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[64000, 96000], gamma=0.1)
train_cfg = dict(type='mmlattn.StreamTrainLoop', max_iters=160000, val_interval=5000)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)

# RAN on ImageNet: a tenth of the learning rate at 200k, 400k and 500k iterations, 530k in all.
# At batch 256, which is our choice (the paper has no number), these are 106 epochs.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[200000, 400000, 500000], gamma=0.1)
train_cfg = dict(type='mmlattn.StreamTrainLoop', max_iters=530000, val_interval=5000)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)

# CSRA by its authors: SGD over 30 epochs, 16 images a step, the head at ten times the learning rate.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'head.': dict(lr_mult=10)}),
)
param_scheduler = [
    # Iteration t of the first two epochs has t / n of the learning rate, the first one none.
    dict(type='mmlattn.WarmUpLR', by_epoch=True, begin=0, end=2, convert_to_iter_based=True),
    dict(type='StepLR', by_epoch=True, step_size=5, gamma=0.1),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)

# Networks for 20 epochs, localizers for 5, both in turn for three cycles, networks for 20 more. The order is the
# paper's; no lengths, rates or batch sizes of it are public, so these are ours.
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005, nesterov=True),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', by_epoch=True, milestones=[61, 71], gamma=0.1),
]
train_cfg = dict(by_epoch=True, max_epochs=81, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)

# In epochs; for another schedule --cfg-options phases.cls=5 and the like.
phases = dict(
    warmup=20,
    pretrain_apn=5,
    cls=10,
    apn=2,
    max_cycles=3,
    final=20,
    # Lengths as they stand, so that rates fall where they should.
    tolerance=None,
)

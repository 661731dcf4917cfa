# ST-LSTM: Adam at 1e-5, a tenth of it after 30 of 45 epochs, batch 16, which is known of the paper.
# Ours: one rate for all weights, and the clipping. No weight decay, as in a public re-implementation.
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=1e-5, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[30], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=45, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)

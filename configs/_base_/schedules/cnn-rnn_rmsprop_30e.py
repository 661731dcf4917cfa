# CNN-RNN: RMSprop over 30 epochs in batches of 64.
# The paper names RMSProp and the frozen CNN. Ours: rate, weight decay, momentum, clipping and length.
optim_wrapper = dict(
    optimizer=dict(type='RMSprop', lr=1e-4, alpha=0.99, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = dict(type='MultiStepLR', by_epoch=True, milestones=[20], gamma=0.1)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=64)
# mmpretrain freezes the CNN's stages after it was wrapped for several GPUs.
find_unused_parameters = True

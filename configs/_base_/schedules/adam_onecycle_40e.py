# Adam over 40 epochs with one cycle of the learning rate, as ML-Decoder's authors train on COCO, in batches of 56.
# No decay for biases, norms and anything else of one axis. --auto-scale-lr does not reach eta_max.
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4), paramwise_cfg=dict(flat_decay_mult=0.0)
)
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1e-4,
        total_steps=40,
        pct_start=0.2,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(by_epoch=True, max_epochs=40, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=56)

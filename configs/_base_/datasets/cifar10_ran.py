# CIFAR-10 as residual networks are trained on it: 4 pixels of padding, a random crop, flips, no mean colour.
# Papers that say "per-pixel mean", RAN's too, may mean a picture of 32 x 32; here it is a colour, as in most codes.
# Padding is zero after the mean is subtracted, so it is the mean here (rounded by at most half a grey level).
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[1, 1, 1],
    to_rgb=False,  # the loader gives RGB
)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4, pad_val=tuple(data_preprocessor['mean'])),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

data_root = 'data/cifar10'
train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    sampler=dict(type='mmlattn.StreamSampler', shuffle=True),
    dataset=dict(type='CIFAR10', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CIFAR10', data_root=data_root, split='test', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

# Fashion-MNIST, one channel, 28 x 28 padded with black to 32 x 32.
# tools/dataset_converters/fashion_mnist.py fetches it from a Debian mirror.
data_preprocessor = dict(num_classes=10, mean=[72.94], std=[90.02], to_rgb=False)

train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),  # moves the picture by up to 2 pixels
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='Resize', scale=(28, 28), interpolation='area'),  # for pictures from elsewhere
    dict(type='RandomCrop', crop_size=32, padding=2),  # has one place to crop
    dict(type='PackInputs'),
]

data_root = 'data/fashion-mnist'
# Without workers none can persist, which mmpretrain's own train.py asks for otherwise.
train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='FashionMNIST', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    # mmpretrain's FashionMNIST goes by test_mode, not by split: without it this would be the training data.
    dataset=dict(
        type='FashionMNIST', data_root=data_root, split='test', test_mode=True, pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

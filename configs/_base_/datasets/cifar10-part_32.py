# A part of CIFAR-10 as JPEG files in folders by class: 1,000 pictures a class for training, 200 for testing.
mean = [125.307, 122.961, 113.8575]
data_preprocessor = dict(num_classes=10, mean=mean, std=[62.99, 62.09, 66.70], to_rgb=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # Padding is the mean colour; the loader gives BGR.
    dict(type='RandomCrop', crop_size=32, padding=4, pad_val=tuple(reversed(mean))),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

data = dict(type='CustomDataset', data_root='data/cifar10-part')
# Without workers none can persist, which mmpretrain's own train.py asks for otherwise.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data, data_prefix='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, data_prefix='test', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

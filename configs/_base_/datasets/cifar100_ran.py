# CIFAR-100, otherwise as CIFAR-10.
_base_ = './cifar10_ran.py'

data_preprocessor = dict(num_classes=100, mean=[129.304, 124.070, 112.434])
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4, pad_val=tuple(data_preprocessor['mean'])),
    *_base_.train_pipeline[1:],
]

data_root = 'data/cifar100'
train_dataloader = dict(dataset=dict(type='CIFAR100', data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type='CIFAR100', data_root=data_root))
test_dataloader = val_dataloader

# Pictures with several labels at 224 x 224 for a VGG-16 of ImageNet: its colours and its antialiased bilinear.
# What the paper of CNN-RNN takes is not known; ours are: in training crops of a picture squeezed to 256 x 256, which
# cut away little that a label may rest on, in test the whole picture, and batches for one GPU.
_base_ = './multi_label_448.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 256), keep_ratio=False, backend='pillow'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    _base_.pack_train,
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False, backend='pillow'),
    _base_.pack_test,
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# ImageNet-1k with the augmentation of the RAN paper: scale and aspect ratio, flips, PCA colours, the mean subtracted.
data_preprocessor = dict(num_classes=1000, mean=[123.675, 116.28, 103.53], std=[1, 1, 1], to_rgb=True)

train_pipeline = [
    # In uint8, Lighting would turn a white pixel that gets brighter into a black one.
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='Lighting',
        # AlexNet's eigenvalues for pixels in [0, 255]; rows in the order of the channels, which is BGR.
        eigval=[55.4625, 4.7940, 1.1475],
        eigvec=[[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]],
        alphastd=0.1,
        to_rgb=False,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
# For test_dataloader.dataset.pipeline: the same share of the picture at 320.
test_pipeline_320 = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=366, edge='short'),
    dict(type='CenterCrop', crop_size=320),
    dict(type='PackInputs'),
]

data_root = 'data/imagenet'
# The paper does not say how many pictures make a batch; 256 are meant here, 32 on each of 8 GPUs.
train_dataloader = dict(
    batch_size=32,
    num_workers=5,
    sampler=dict(type='mmlattn.StreamSampler', shuffle=True),
    dataset=dict(type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=5,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ImageNet', data_root=data_root, split='val', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

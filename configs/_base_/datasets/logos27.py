# FlickrLogos-27 in CUB's layout at 256 x 256, with the largest box of each picture.
# 27 brands in photographs, 538 to train and 269 to test. Pictures are pressed into squares whole, since a logo may be
# anywhere.
data_preprocessor = dict(
    num_classes=27, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)
classes = [
    'Adidas', 'Apple', 'BMW', 'Citroen', 'Cocacola', 'DHL', 'Fedex', 'Ferrari', 'Ford', 'Google', 'Heineken', 'HP',
    'Intel', 'McDonalds', 'Mini', 'Nbc', 'Nike', 'Pepsi', 'Porsche', 'Puma', 'RedBull', 'Sprite', 'Starbucks',
    'Texaco', 'Unicef', 'Vodafone', 'Yahoo',
]  # fmt: skip

# Letters are not mirrored. 'area' is the mean over the pixels that fall on one.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=256, crop_ratio_range=(0.6, 1.0), interpolation='area'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 256), interpolation='area'),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels')),
]

logos = dict(type='mmlattn.CUBBox', data_root='data/logos27', metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(logos, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(logos, split='test', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator

# WIDER Attribute at 224 x 224: a sample is a person, cut out of the picture, as the CSRA code reads it for its ViT.
_base_ = './multi_label_448.py'

data_root = 'data/WIDER'
data_preprocessor = dict(num_classes=14, mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='mmlattn.CropToBox'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False, backend='pillow'),
    _base_.pack_train,
]
test_pipeline = [*train_pipeline[:2], train_pipeline[3], _base_.pack_test]
train_dataloader = dict(
    dataset=dict(
        type='mmlattn.WIDERAttribute', data_root=data_root, split='trainval', pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(
        type='mmlattn.WIDERAttribute',
        data_root=data_root,
        split='test',
        test_mode=True,
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

# An attribute that is not specified counts for nothing in the first; in the second it is as in the CSRA code, whose
# precision and recall take it for absent.
val_evaluator = [
    dict(type='mmlattn.MultiLabelReport'),
    dict(type='mmlattn.MultiLabelReport', convention='csra_wider', prefix='csra-wider'),
]
test_evaluator = val_evaluator

# 8,400 photographs of COCO with 18 classes and no boxes: 6,000 to train on, 800 to choose by, 1,600 to test on.
# Squeezed to 224 x 224 and not augmented, so that a fixed backbone sees each picture once.
_base_ = './multi_label_224.py'

data_preprocessor = dict(num_classes=18)
data = dict(type='mmlattn.COCOMultiLabel', data_root='data/coco18')
train_pipeline = [*_base_.test_pipeline[:2], dict(type='PackInputs')]
# Without workers none can persist, which mmpretrain's own train.py asks for otherwise.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data, ann_file='annotations/instances_train.json', data_prefix='train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data, ann_file='annotations/instances_val.json', data_prefix='val', test_mode=True),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data, ann_file='annotations/instances_test.json', data_prefix='test', test_mode=True),
)

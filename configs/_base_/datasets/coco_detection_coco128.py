# The first 128 pictures of COCO train2017 with their boxes, small enough for a CPU.
# Tested on the pictures it is trained on: a number says whether training and testing fit together, and nothing about
# unseen pictures.
_base_ = ['mmdet::_base_/datasets/coco_detection.py']

data_root = 'data/coco128/'
ann_file = 'annotations/instances_train2017.json'
resize = dict(type='Resize', scale=(384, 256), keep_ratio=True)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(batch_size=4, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file=ann_file, data_prefix=dict(img='train2017/'), pipeline=test_pipeline
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + ann_file)
test_evaluator = val_evaluator

# StampScenes: 224 x 224 scenes of photo cut-outs, made by tools/dataset_converters/stamp_scenes.py.
_base_ = './multidigits.py'

data_preprocessor = dict(num_classes=12, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
data_root = 'data/stampscenes'
train_dataloader = dict(dataset=dict(data_root=data_root))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224)),
    dict(type='PackInputs', algorithm_keys=('gt_boxes', 'gt_box_labels')),
]
val_dataloader = dict(batch_size=50, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

# StampScenes: 224 x 224 scenes of photo cut-outs, made by tools/dataset_converters/stamp_scenes.py.
_base_ = './multidigits.py'

data_preprocessor = dict(num_classes=12, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
data_root = 'data/stampscenes'
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale=(224, 224)),
    _base_.test_pipeline[-1],
]
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(batch_size=50, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

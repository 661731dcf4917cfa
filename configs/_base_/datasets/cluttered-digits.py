# One handwritten digit of 20 to 36 pixels in 128 x 128, among fragments of others.
# Made by tools/dataset_converters/multi_digits.py --out-dir data/cluttered-digits --canvas 128 --max-digits 1
#   --digit-size 20 36 --clutter 24
_base_ = './multidigits.py'

data_preprocessor = dict(to_onehot=False)

test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='Resize', scale=(128, 128)),
    _base_.test_pipeline[-1],
]
data_root = 'data/cluttered-digits'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='Accuracy'),
    dict(type='mmlattn.ScaleAccuracy'),
    dict(type='mmlattn.RegionQuality'),
]
test_evaluator = val_evaluator

"""The highest score of all places for each class above a fixed EfficientNet-Lite0, on 18 classes of COCO."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(neck=None, head=dict(pool='max'))

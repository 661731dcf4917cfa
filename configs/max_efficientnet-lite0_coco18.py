"""A linear classifier at every place and the best place for each class, above a fixed EfficientNet-Lite0."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(neck=None, head=dict(pool='max', with_evidence=True))

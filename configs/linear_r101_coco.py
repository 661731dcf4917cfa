"""Equal-recipe baseline of ``csra_r101_coco.py``: average pooling and a linear classifier."""

_base_ = 'csra_r101_coco.py'

model = dict(
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=80,
        in_channels=2048,
        # mmpretrain sums the loss over classes; 1/80 makes it the mean, as in the CSRA config.
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1 / 80),
    ),
)

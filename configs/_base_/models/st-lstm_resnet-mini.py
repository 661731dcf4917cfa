_base_ = './linear_resnet-mini.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmlattn.STLSTM',
        in_channels=64,
        num_steps=5,
        region_size=8,  # the cells of a region of scale 0.5 on the 16 x 16 map
        embed_dims=256,
        hidden_dims=128,
        out_dims=128,
    ),
    head=dict(
        _delete_=True,
        type='mmlattn.STLSTMHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        score_norm='sigmoid',
    ),
)

# The backbone of the linear baseline of StampScenes, with ST-LSTM in place of pooling and classifier.
_base_ = './linear_mobilenet-v2_frozen.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmlattn.STLSTM',
        in_channels=1280,
        num_steps=9,
        region_size=4,
        region_pool=None,
        region_embed='gap',
        hidden_dims=256,
        out_dims=256,
        loc_param='residual_anchor',
        loc_init=dict(scale=0.35, shift=0.0),
        # As in st-lstm_resnet-mini.py.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform', gain=3.0),
    ),
    head=dict(
        _delete_=True,
        type='mmlattn.STLSTMHead',
        num_classes=12,
        in_channels=256,
        fuse='lse',
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        score_norm='sigmoid',
        with_evidence=True,
    ),
)

# The backbone of the linear baseline of MultiDigits, with ST-LSTM in place of pooling and classifier.
_base_ = './linear_resnet-mini.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmlattn.STLSTM',
        in_channels=64,
        num_steps=9,
        region_size=6,  # the cells of a region of scale 0.35 on the 16 x 16 map
        region_pool=None,
        region_embed='gap',
        hidden_dims=128,
        out_dims=128,
        loc_param='residual_anchor',
        loc_init=dict(scale=0.35, shift=0.0),
        # Gates leave about a quarter of their input: without the gain, learning starts an epoch or two later.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform', gain=3.0),
    ),
    head=dict(
        _delete_=True,
        type='mmlattn.STLSTMHead',
        num_classes=10,
        in_channels=128,
        fuse='lse',
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        score_norm='sigmoid',
        with_evidence=True,
    ),
)

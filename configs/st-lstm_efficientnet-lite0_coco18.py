"""ST-LSTM above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs: five regions of the 7 x 7 map."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmlattn.STLSTM',
        in_channels=1280,
        num_steps=5,
        region_size=4,
        region_pool=None,
        region_embed='gap',
        hidden_dims=128,
        out_dims=128,
        loc_param='residual_anchor',
        loc_init=dict(scale=0.5, shift=0.0),
        # As in st-lstm_resnet-mini.py.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform', gain=3.0),
    ),
    head=dict(
        _delete_=True,
        type='mmlattn.STLSTMHead',
        num_classes=18,
        in_channels=128,
        fuse='lse',
        loss=dict(type='CrossEntropyLoss', use_sigmoid=True),
        score_norm='sigmoid',
        with_evidence=True,
    ),
)
# Faster, regions move before there are features to follow.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'neck.loc': dict(lr_mult=0.1)}))
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.RegionDiagnosticsHook', interval=10)]

"""CNN-RNN above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(
    head=dict(
        _delete_=True,
        type='mmlattn.CNNRNNHead',
        num_classes=18,
        in_channels=1280,
        aux_bce=1.0,  # as in compare_heads.py; the decoder does not feel it where the backbone is fixed
        with_evidence=True,
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

"""CNN-RNN above a fixed EfficientNet-Lite0, on 18 classes of COCO's photographs."""

_base_ = './linear_efficientnet-lite0_coco18.py'

model = dict(
    head=dict(
        _delete_=True, type='mmlattn.CNNRNNHead', num_classes=18, in_channels=1280, with_evidence=True
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.LabelFrequencyHook')]

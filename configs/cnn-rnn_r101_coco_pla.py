"""CNN-RNN as we would train it today: ResNet-101, attention decoder, labels in the order that the decoder finds.

Not measured on COCO yet. The same recipe with another head: ``csra_r50_coco_asl.py`` and ``st-lstm_r101_coco.py``.
"""

_base_ = [
    '_base_/models/resnet101.py',
    '_base_/datasets/coco14_448_randaug.py',
    '_base_/schedules/adamw_cosine_30e.py',
    '_base_/ema_runtime.py',
]

model = dict(
    head=dict(
        type='mmlattn.CNNRNNHead',
        num_classes=80,
        in_channels=2048,
        decoder=dict(type='attention', embed_dims=256, hidden_dims=512, attention_dims=256),
        align='pla',
        aux_bce=1.0,
        test_cfg=dict(max_len=20),
        with_evidence=True,
    ),
)
# Pictures without labels teach it to say nothing.
train_dataloader = dict(dataset=dict(filter_empty=False))
val_dataloader = dict(dataset=dict(filter_empty=False))
test_dataloader = val_dataloader
val_evaluator = [*_base_.val_evaluator, dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator

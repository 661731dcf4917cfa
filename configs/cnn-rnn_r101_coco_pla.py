"""CNN-RNN as we would train it today: ResNet-101, attention decoder, labels in the order that the decoder finds.

Not measured on COCO yet. Equal recipe with another head: ``csra_r50_coco_asl.py``, from which everything but backbone
and head comes, and ``st-lstm_r101_coco.py``.
"""

_base_ = ['csra_r50_coco_asl.py']

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet101_8xb32_in1k_20210831-539c63f8.pth'
        ),
    ),
    head=dict(
        _delete_=True,
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
val_evaluator = [dict(type='mmlattn.MultiLabelReport'), dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator

"""Small classifiers of every system, as a user has them: a config, and a checkpoint with names of classes."""

from pathlib import Path

import torch
from contract_cases import BACKBONE, CHANNELS, POOLED
from mmengine.config import Config
from mmengine.registry import DefaultScope
from reference.ran import randomise
from torch import nn

from mmlattn.registry import MODELS

NAMES = ('cat', 'dog', 'bird', 'fish', 'naïve "ox"')
SIZES = dict(num_classes=len(NAMES), in_channels=CHANNELS)
CE = dict(type='mmpretrain.CrossEntropyLoss')
DECODER = dict(embed_dims=8, hidden_dims=16, dropout=0.0)
RAN = dict(
    type='mmlattn.ResidualAttentionNet',
    arch=dict(
        stem_channels=4, channels=(8, 16), strides=(1, 2), modules=(1, 0), units=(0, 0), mask_depths=(2, 0)
    ),
)


def classifier(head: dict, neck: dict | None = None, backbone: dict = BACKBONE) -> dict:
    return dict(type='mmpretrain.ImageClassifier', backbone=backbone, neck=neck, head=head)


def cnn_rnn(decoder: str, **settings) -> dict:
    decoder = dict(DECODER, type=decoder) | (dict(attention_dims=4) if decoder == 'attention' else {})
    search = settings.pop('test_cfg', dict(beam=2, max_len=2))
    head = dict(
        type='mmlattn.CNNRNNHead', **SIZES, label_freq=[5, 4, 3, 2, 1], decoder=decoder, test_cfg=search
    )
    return classifier(head | settings)


def rival(kind: str, **settings) -> dict:
    return classifier(dict(type=f'mmlattn.{kind}', **SIZES) | settings)


MODELS_OF = {
    'CSRA': classifier(dict(type='mmlattn.CSRAHead', **SIZES, num_heads=2, lam=0.5, thr=0.6)),
    'RAN': classifier(
        dict(type='mmpretrain.LinearClsHead', num_classes=len(NAMES), in_channels=16, loss=CE), POOLED, RAN
    ),
    'ST-LSTM': classifier(
        dict(type='mmlattn.STLSTMHead', num_classes=len(NAMES), in_channels=7, thr=0.3, topk=2),
        dict(type='mmlattn.STLSTM', in_channels=CHANNELS, num_steps=2, region_size=4, embed_dims=6, hidden_dims=5,
             out_dims=7, include_global=True),
    ),
    'RA-CNN': dict(
        type='mmlattn.RACNN', backbone=BACKBONE, neck=POOLED, crop=dict(size=32), num_scales=2,
        head=dict(type='mmpretrain.LinearClsHead', **SIZES, loss=CE),
        localizer=dict(type='mmlattn.APN', form='light', spatial=4),
    ),
    'CNN-RNN': cnn_rnn('joint'),
    'CNN-RNN, attention': cnn_rnn('attention'),
    'CNN-RNN, marginal': cnn_rnn('joint', test_cfg=dict(beam=3, max_len=3, set_from='marginal', thr=0.3, topk=2)),
    'linear': classifier(dict(type='mmlattn.LinearMultiLabelHead', **SIZES, topk=2), POOLED),
    'linear, max': rival('LinearMultiLabelHead', pool='max', thr=0.5),
    'ML-Decoder': rival('MLDecoderHead', embed_dims=16, feedforward_dims=16, num_heads=2),
    'Query2Label': rival('Query2LabelHead', embed_dims=16, feedforward_dims=16, num_heads=2),
    'stock linear': classifier(dict(type='mmpretrain.MultiLabelLinearClsHead', **SIZES, thr=0.4), POOLED),
}  # fmt: skip


def write_case(folder: Path, name: str, dataset: dict | None = None, **changes) -> tuple[Config, Path]:
    """A config, by default of data that are not there, and a checkpoint of random weights with names of classes."""
    torch.manual_seed(0)
    model = dict(MODELS_OF[name], **changes)
    if dataset is None:
        pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
        dataset = dict(type='CustomDataset', data_root=str(folder / 'none'), pipeline=pipeline)
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            data_preprocessor=dict(mean=[120.0, 110, 100], std=[60.0, 50, 40], to_rgb=True),
            val_dataloader=dict(dataset=dataset),
            test_dataloader=dict(dataset=dataset),
        )
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = MODELS.build(dict(model, data_preprocessor=cfg.data_preprocessor))
    for parameter in built.parameters():
        nn.init.normal_(parameter, std=0.4)
    path = folder / f'{name}.pth'
    torch.save(
        dict(state_dict=randomise(built).state_dict(), meta=dict(dataset_meta=dict(classes=NAMES))), path
    )
    return cfg, path

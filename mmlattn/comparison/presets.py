"""Heads that ``compare_heads.py`` knows by name; backbones are those of ``utils/package_weights.py``.

They are those of our demos. Two are made for wide backbones: ML-Decoder's paper takes 768 channels and Query2Label's
transformer is as wide as the backbone. Above small backbones both are of the same smaller width, see
:func:`transformer_widths`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from mmlattn.utils.arguments import check_choice

#: Width of transformers above backbones of at most this many channels, and inside of their feed-forward blocks.
SMALL_CHANNELS, SMALL_WIDTH, SMALL_FEEDFORWARD = 1280, 256, 1024


@dataclass(frozen=True)
class HeadPreset:
    """A neck, a head, the hooks that it needs, and how parts of it learn.

    Attributes:
        head (dict): Config.
        neck (dict, optional): Config.
        hooks (tuple[dict, ...]): For ``custom_hooks``.
        paramwise (dict): For ``custom_keys`` of ``paramwise_cfg``.
    """

    head: Mapping
    neck: Mapping | None = None
    hooks: tuple[Mapping, ...] = ()
    paramwise: Mapping = field(default_factory=dict)


def transformer_widths(channels: int) -> dict:
    """Widths of ML-Decoder and Query2Label above a backbone of that many channels: the same for both."""
    if channels <= SMALL_CHANNELS:
        return dict(embed_dims=SMALL_WIDTH, feedforward_dims=SMALL_FEEDFORWARD)
    return dict(embed_dims=768, feedforward_dims=2048)


def _pooled(num_classes: int, channels: int, pool: str) -> HeadPreset:
    # As CSRAHead starts: uniform in +-1/sqrt(channels).
    bound = channels**-0.5
    return HeadPreset(
        dict(
            type='mmlattn.LinearMultiLabelHead',
            num_classes=num_classes,
            in_channels=channels,
            pool=pool,
            with_evidence=True,
            init_cfg=dict(type='Uniform', layer='Linear', a=-bound, b=bound),
        )
    )


def _csra(num_classes: int, channels: int) -> HeadPreset:
    sizes = dict(num_classes=num_classes, in_channels=channels)
    return HeadPreset(
        dict(type='mmlattn.CSRAHead', **sizes, num_heads=1, lam=0.3, thr=0.5, with_evidence=True)
    )


def _st_lstm(num_classes: int, channels: int) -> HeadPreset:
    neck = dict(
        type='mmlattn.STLSTM',
        in_channels=channels,
        num_steps=5,
        region_size=4,
        region_pool=None,
        region_embed='gap',
        hidden_dims=128,
        out_dims=128,
        loc_param='residual_anchor',
        loc_init=dict(scale=0.5, shift=0.0),
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform', gain=3.0),
    )
    head = dict(
        type='mmlattn.STLSTMHead',
        num_classes=num_classes,
        in_channels=128,
        fuse='lse',
        loss=dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True),
        score_norm='sigmoid',
        with_evidence=True,
    )
    # Faster, regions move before there are features to follow.
    return HeadPreset(head, neck, paramwise={'neck.loc': dict(lr_mult=0.1)})


def _cnn_rnn(num_classes: int, channels: int) -> HeadPreset:
    head = dict(
        type='mmlattn.CNNRNNHead',
        num_classes=num_classes,
        in_channels=channels,
        aux_bce=1.0,
        with_evidence=True,
    )
    return HeadPreset(head, hooks=(dict(type='mmlattn.LabelFrequencyHook'),))


def _ml_decoder(num_classes: int, channels: int) -> HeadPreset:
    sizes = dict(num_classes=num_classes, in_channels=channels, **transformer_widths(channels))
    return HeadPreset(dict(type='mmlattn.MLDecoderHead', **sizes, with_evidence=True))


def _query2label(num_classes: int, channels: int) -> HeadPreset:
    sizes = dict(num_classes=num_classes, in_channels=channels, **transformer_widths(channels))
    return HeadPreset(dict(type='mmlattn.Query2LabelHead', **sizes, with_evidence=True))


#: Name -> preset of (number of classes, channels).
HEADS: Mapping[str, Callable[[int, int], HeadPreset]] = {
    'linear': partial(_pooled, pool='avg'),
    'max': partial(_pooled, pool='max'),
    'lse': partial(_pooled, pool='lse'),
    'csra': _csra,
    'st-lstm': _st_lstm,
    'cnn-rnn': _cnn_rnn,
    'ml-decoder': _ml_decoder,
    'q2l': _query2label,
}


def head_preset(name: str, num_classes: int, channels: int) -> HeadPreset:
    """The preset of that name; raises ``UserError`` for one that there is not."""
    check_choice('--heads', name, HEADS)
    return HEADS[name](num_classes, channels)

"""What the contract is tested on: small models of every system, built from configs as a user writes them.

A new system, or an option of one that changes what is computed, gets an entry in ``CASES`` and with it every test of
``test_contract.py`` and ``test_contract_export.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from reference.ran import randomise
from torch import Tensor, nn

from mmlattn.models.layers.score_fusion import fuse_scores
from mmlattn.registry import MODELS

NUM_CLASSES, CHANNELS = 5, 6
SIZES = dict(num_classes=NUM_CLASSES, in_channels=CHANNELS)
# It normalises each position for itself: no picture depends on the others, so two processes are like one.
BACKBONE = dict(
    type='mmpretrain.ConvNeXt',
    arch=dict(depths=[2], channels=[CHANNELS]),
    out_indices=(0,),
    gap_before_final_norm=False,
)
POOLED = dict(type='mmpretrain.GlobalAveragePooling')


def outputs(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Scores, or the maps of a backbone that stands alone."""
    found = model(x)
    return found if isinstance(found, tuple) else (found,)


def outputs_of_steps(model: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """ST-LSTM's scores, the scores of its steps averaged, and its regions."""
    feats = model.extract_feat(x)
    return model.head(feats), fuse_scores(model.head.step_scores(feats), 'mean'), feats.theta


@dataclass(frozen=True)
class Case:
    """One model and how to ask it.

    Args:
        model (dict): Its config.
        shape (tuple): Channels, height and width of its pictures.
        outputs (Callable): From (model, pictures) to the tensors that are compared.
        std (float, optional): Of random weights, since the first ones leave some parts idle; None keeps those.
        one_label (bool): Whether a picture has one label and not a set of them.
        inference (bool): Whether it is compiled without gradients, as its scores come from a search or of squares
            that are found on the way.
        rounds (bool): Whether some of it is computed in single precision even in a model of double precision.
        any_size (bool): Whether the exported file takes pictures of any height and width.
        dynamo (bool): Whether the second exporter is tried too, which takes ten times as long.
        tolerance (float): Largest difference between a score and that of the exported file.
        learning_rate (float): Small where three large steps would blow rounding up.
    """

    model: dict
    shape: tuple[int, int, int] = (3, 20, 24)
    outputs: Callable[[nn.Module, Tensor], tuple[Tensor, ...]] = outputs
    std: float | None = 0.5
    one_label: bool = False
    inference: bool = False
    rounds: bool = False
    any_size: bool = False
    dynamo: bool = False
    tolerance: float = 1e-5
    learning_rate: float = 0.1

    def build(self) -> nn.Module:
        """The model, with the same weights each time."""
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(self.model)
        for parameter in model.parameters() if self.std else ():
            nn.init.normal_(parameter, std=self.std)
        return randomise(model)

    def pictures(self, count: int, seed: int = 0) -> Tensor:
        """Noise on a colour of its own for each picture, (count, C, H, W)."""
        torch.manual_seed(seed)
        return torch.randn(count, *self.shape) + 3 * torch.randn(count, self.shape[0], 1, 1)

    def labels(self, rank: int) -> list[list[int]]:
        """Those of two pictures, others for each process but as many, since CNN-RNN weighs steps and not pictures."""
        return [[rank], [3]] if self.one_label else [[rank], [0, 2, 3]]

    def loss(self, model: nn.Module, x: Tensor, labels: list[list[int]]) -> Tensor:
        """All losses of a training step added up; a backbone alone is asked for small outputs."""
        if not hasattr(model, 'loss'):
            return sum(out.square().mean() for out in self.outputs(model, x))
        samples = [DataSample().set_gt_label(torch.tensor(each, dtype=torch.long)) for each in labels]
        return model.parse_losses(model.loss(x, samples))[0]


def classifier(head: dict, neck: dict | None = None) -> dict:
    return dict(type='mmpretrain.ImageClassifier', backbone=BACKBONE, neck=neck, head=head)


def csra() -> Case:
    head = dict(type='mmlattn.CSRAHead', **SIZES, num_heads=4, lam=0.5, bias=True)
    return Case(classifier(head), dynamo=True)


def rival(head: str, *, dynamo: bool = False, neck: dict | None = None, **settings) -> Case:
    """One of the heads that ours are compared with; dropout is drawn anew in each step."""
    if head != 'LinearMultiLabelHead':
        settings = dict(feedforward_dims=12, num_heads=2, dropout=0.0) | settings
    return Case(classifier(dict(type=f'mmlattn.{head}', **SIZES) | settings, neck), dynamo=dynamo)


def ran(*, dynamo: bool = False, **settings) -> Case:
    """Two stages, a mask in the first; what a whole network adds is only time."""
    arch = dict(
        stem_channels=4, channels=(8, 16), strides=(1, 2), modules=(1, 0), units=(0, 0), mask_depths=(2, 0)
    )
    model = dict(type='mmlattn.ResidualAttentionNet', arch=arch) | settings
    return Case(model, (3, 48, 33), std=None, rounds=True, any_size=True, dynamo=dynamo, learning_rate=0.01)


def ran_wrapper() -> Case:
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    model = dict(
        type='mmlattn.ResidualAttentionWrapper', backbone=backbone, stages=['layer3'], mask_ratio=0.5
    )
    return Case(model, (3, 48, 64), std=None, rounds=True, learning_rate=0.01)


def st_lstm(neck: dict, head: dict, *, dynamo: bool = False) -> Case:
    """The loop is unrolled: a first, a middle and a last region."""
    widths = dict(in_channels=CHANNELS, num_steps=3, region_size=4, embed_dims=6, hidden_dims=5, out_dims=7)
    neck = dict(type='mmlattn.STLSTM') | widths | neck
    head = dict(type='mmlattn.STLSTMHead', num_classes=NUM_CLASSES, in_channels=7) | head
    return Case(classifier(head, neck), outputs=outputs_of_steps, dynamo=dynamo)


def cnn_rnn(
    decoder: dict, search: dict | None = None, *, neck: dict | None = None, dynamo: bool = False, **settings
) -> Case:
    decoder = dict(embed_dims=8, hidden_dims=16, dropout=0.0) | decoder
    head = dict(type='mmlattn.CNNRNNHead', **SIZES, label_freq=[5, 4, 3, 2, 1], decoder=decoder) | settings
    if search is not None:
        head['test_cfg'] = dict(beam=4, max_len=4) | search
    return Case(classifier(head, neck), std=0.4, inference=True, dynamo=dynamo)


def racnn(*, dynamo: bool = False, **settings) -> Case:
    model = dict(
        type='mmlattn.RACNN',
        backbone=BACKBONE,
        neck=POOLED,
        head=dict(type='mmpretrain.LinearClsHead', **SIZES, loss=dict(type='mmpretrain.CrossEntropyLoss')),
        localizer=dict(type='mmlattn.APN', form='light', spatial=4),
        crop=dict(size=32),
    )
    return Case(
        model | settings, (3, 64, 64), std=0.3, one_label=True, inference=True, rounds=True, dynamo=dynamo,
        tolerance=1e-4, learning_rate=0.001,
    )  # fmt: skip


CASES = {
    'CSRA': csra(),
    'ML-Decoder': rival('MLDecoderHead', embed_dims=8, num_groups=2),
    'Query2Label': rival('Query2LabelHead', embed_dims=8, self_attention=True, dynamo=True),
    'linear': rival('LinearMultiLabelHead', neck=POOLED),
    'linear, log-sum-exp': rival('LinearMultiLabelHead', pool='lse'),
    'RAN': ran(out_indices=(0, 1), dynamo=True),
    'RAN, post-activated': ran(
        unit=dict(type='resnext', groups=2), attention='spatial', pool_style='caffe', align_corners=False
    ),
    'RAN, port': ran(
        attention='channel', mask_skip='port', learning='nal', out_norm=True, out_indices=(0, 1)
    ),
    'RAN, recomputed and frozen': ran(
        unit=dict(type='resnext', groups=2), learning='nal', modules=(1, 1), frozen_stages=1, norm_eval=True,
        with_cp=True,
    ),
    'RAN, convolutions as masks': ran(
        attention='spatial', mask_skip='port', mask_struct='conv', with_cp=True
    ),
    'RAN, masks for ResNet': ran_wrapper(),
    'ST-LSTM': st_lstm({}, {}, dynamo=True),
    'ST-LSTM, one region': st_lstm(dict(num_steps=1, region_embed='gap'), dict(loss_loc=None)),
    'ST-LSTM, bounded': st_lstm(
        dict(loc_param='bounded', region_embed='gap', region_pool='avg', include_global=True),
        dict(fuse='noisy_or'),
    ),
    'ST-LSTM, every step learns': st_lstm(
        dict(loc_param='bounded', region_embed='conv', include_global=True), dict(aux_step_weight=1.0)
    ),
    'ST-LSTM, residual': st_lstm(
        dict(loc_param='residual_anchor', region_embed='conv', region_pool=None, cell_out='tanh',
             align_corners=True),
        dict(fuse='lse'),
        dynamo=True,
    ),
    'CNN-RNN': cnn_rnn(dict(type='joint'), {}, dynamo=True),
    'CNN-RNN, attention': cnn_rnn(dict(type='attention', attention_dims=4), {}, aux_bce=1.0, dynamo=True),
    'CNN-RNN, printed cell, three labels': cnn_rnn(
        dict(type='joint', cell='paper'), dict(min_len=3, max_len=3, end_mode='compete'), neck=POOLED
    ),
    'CNN-RNN, aligned': cnn_rnn(dict(type='joint'), {}, align='pla'),
    'CNN-RNN, any order': cnn_rnn(dict(type='joint'), align='multi', num_steps=3),
    'RA-CNN': racnn(),
    'RA-CNN, localizer without weights': racnn(localizer='activation'),
    'RA-CNN, no fusion': racnn(fusion=None),
    'RA-CNN, glance': racnn(
        glance=32, crop=dict(size=32, resample_from='image', antialias=True), dynamo=True
    ),
}  # fmt: skip

"""STLSTM and STLSTMHead on mmpretrain's backbones."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import mmlattn.models  # noqa: F401, registers
from mmlattn.models.layers.spatial_transformer import theta_to_boxes

BACKBONES = {
    'VGG': (dict(type='VGG', depth=11, num_classes=-1, out_indices=(4,), with_last_pool=False), 512),
    'ResNet': (dict(type='ResNet', depth=18), 512),
    'Swin': (dict(type='SwinTransformer', arch='tiny', img_size=96, pad_small_map=True), 768),
    'ConvNeXt': (dict(type='ConvNeXt', arch='atto', gap_before_final_norm=False), 320),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_on_backbones_of_mmpretrain(name):
    """A picture that is not square: loss trains all parts, predict tells regions in fractions of the picture."""
    torch.manual_seed(0)
    backbone, channels = BACKBONES[name]
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(
                type='mmlattn.STLSTM', in_channels=channels, num_steps=2, region_size=4, embed_dims=8,
                hidden_dims=6, out_dims=7,
            ),
            head=dict(type='mmlattn.STLSTMHead', num_classes=4, in_channels=7),
        )
    )  # fmt: skip
    model.neck.init_weights()
    images, samples = torch.randn(2, 3, 64, 96), [DataSample().set_gt_label(label) for label in ([1], [0, 3])]
    losses = model.loss(images, samples)
    assert set(losses) == {'loss_cls', 'loss_scale', 'loss_anchor', 'loss_positive'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for part in (model.neck, model.head) for p in part.parameters())
    assert next(model.backbone.parameters()).grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        sample = model.predict(images, with_evidence=True)[0]
        boxes = theta_to_boxes(model.extract_feat(images).theta)[0].clamp(0, 1)
        torch.testing.assert_close(sample.regions, boxes)
    torch.testing.assert_close(sample.region_scores.amax(0), sample.pred_score)
    assert 'regions' not in model.predict(images)[0]

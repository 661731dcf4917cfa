"""Constraints on regions beside the losses of stock heads."""

import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from reference.st_lstm import constraints

from mmlattn.models import STLSTM, RegionConstraintWrapper
from mmlattn.models.layers.spatial_transformer import theta_to_boxes

HEADS = {
    'single label': (dict(type='mmpretrain.LinearClsHead', num_classes=3, in_channels=7), [1]),
    'multi-label': (dict(type='mmpretrain.MultiLabelLinearClsHead', num_classes=3, in_channels=7), [0, 2]),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(**options):
    neck = STLSTM(3, 3, region_size=4, embed_dims=6, hidden_dims=5, out_dims=7)
    for parameter in neck.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    head = HEADS['single label'][0]
    return neck, RegionConstraintWrapper(**(dict(head=head) | options))


@pytest.mark.parametrize(('head', 'label'), HEADS.values(), ids=HEADS)
def test_adds_its_losses_to_those_of_the_head(head, label):
    neck, wrapper = make(head=head, loc_weight=0.3)
    feats, samples = neck(torch.rand(2, 3, 5, 8)), [DataSample().set_gt_label(label) for _ in range(2)]
    losses = wrapper.loss(feats, samples)
    plain = wrapper.head.loss((feats.pooled,), samples)
    terms = [constraints(theta) for theta in feats.theta.detach().double()]
    # mmengine logs the sum of all losses as 'loss', unless a loss of that name takes its place.
    expected = {name.replace('loss', 'loss_cls'): value for name, value in plain.items()}
    for name, factor in dict(scale=0.3, anchor=0.003, positive=0.03).items():
        expected[f'loss_{name}'] = (factor * sum(sum(image[name]) for image in terms) / 2).float()
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in [*neck.parameters(), *wrapper.parameters()])


@pytest.mark.parametrize(('head', 'label'), HEADS.values(), ids=HEADS)
def test_predicts_as_the_head_does_and_tells_regions_on_request(head, label):
    neck, wrapper = make(head=head)
    feats = neck(torch.rand(2, 3, 5, 8))
    torch.testing.assert_close(wrapper(feats), wrapper.head((feats.pooled,)))
    expected = wrapper.head.predict((feats.pooled,))
    boxes = theta_to_boxes(feats.theta).clamp(0, 1)
    for asked in (None, True):
        given = [DataSample().set_gt_label(label) for _ in range(2)]
        for index, sample in enumerate(wrapper.predict(feats, given, with_evidence=asked)):
            assert sample is given[index]
            torch.testing.assert_close(sample.pred_score, expected[index].pred_score)
            assert torch.equal(sample.pred_label, expected[index].pred_label)
            assert ('regions' in sample) == (asked is True)
            if asked:
                torch.testing.assert_close(sample.regions, boxes[index])
    always = make(head=head, with_evidence=True)[1]
    assert 'regions' in always.predict(feats)[0]
    assert 'regions' not in always.predict(feats, with_evidence=False)[0]


def test_in_a_classifier():
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', depth=18),
            neck=dict(
                type='mmlattn.STLSTM', in_channels=512, region_size=4, embed_dims=8, hidden_dims=6, out_dims=7
            ),
            head=dict(type='mmlattn.RegionConstraintWrapper', head=HEADS['multi-label'][0]),
        )
    )
    images = torch.randn(2, 3, 64, 96)
    samples = [DataSample().set_gt_label([0]), DataSample().set_gt_label([])]
    losses = model.loss(images, samples)
    assert set(losses) == {'loss_cls', 'loss_scale', 'loss_anchor', 'loss_positive'}
    sample = model.eval().predict(images, with_evidence=True)[0]
    assert sample.regions.shape == (5, 4) and sample.pred_score.shape == (3,)


def test_other_necks_are_refused():
    wrapper, feats = make()[1], (torch.rand(2, 7),)
    with pytest.raises(ValueError, match=r'STLSTM.*got tuple'):
        wrapper.loss(feats, [DataSample().set_gt_label([0])] * 2)
    with pytest.raises(ValueError, match=r'STLSTM.*got tuple'):
        wrapper.predict(feats, with_evidence=True)


@pytest.mark.parametrize('value', [-1, float('nan'), 'a'])
def test_impossible_weights_are_named(value):
    with pytest.raises(ValueError, match=f'loc_weight.*{value}'):
        make(loc_weight=value)

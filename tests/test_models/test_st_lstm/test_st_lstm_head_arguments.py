"""What would go wrong in silence is refused, or said."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS

from mmlattn.models import STLSTM, RegionConstraintWrapper, STLSTMHead

BCE = dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True)


def test_a_head_of_another_width_than_the_neck_is_named():
    neck = STLSTM(4, region_size=4, embed_dims=4, hidden_dims=4, out_dims=8)
    with pytest.raises(ValueError, match='in_channels=16, but the STLSTM neck has out_dims=8'):
        STLSTMHead(3, 16)(neck((torch.rand(2, 4, 5, 5),)))


@pytest.mark.parametrize(('score_norm', 'thr'), [('softmax', 1.5), ('sigmoid', -0.1)])
def test_thresholds_are_probabilities(score_norm, thr):
    with pytest.raises(ValueError, match=r'thr must lie in \[0, 1\]'):
        STLSTMHead(3, 4, score_norm=score_norm, thr=thr)


def test_constraints_are_not_added_twice():
    with pytest.raises(ValueError, match='STLSTMHead constrains the regions itself'):
        RegionConstraintWrapper(dict(type='mmlattn.STLSTMHead', num_classes=3, in_channels=4))


@pytest.mark.parametrize(
    ('loss', 'score_norm', 'warned'),
    [
        (dict(type='mmlattn.SoftmaxL2Loss'), 'sigmoid', True),
        (dict(type='mmlattn.SoftmaxL2Loss'), 'softmax', False),
        (BCE, 'softmax', True),
        (BCE, 'sigmoid', False),
        (dict(type='mmpretrain.AsymmetricLoss', use_sigmoid=True), 'softmax', True),
        (dict(type='mmpretrain.CrossEntropyLoss', use_soft=True), 'sigmoid', True),
    ],
)
def test_loss_and_scores_that_disagree_are_said(loss, score_norm, warned, caplog):
    assert MMPRETRAIN_MODELS.get(loss['type'])
    logger = MMLogger.get_instance('disagree')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        STLSTMHead(3, 4, loss=loss, score_norm=score_norm)
    logger.removeHandler(caplog.handler)
    assert ('will suffer' in caplog.text) == warned

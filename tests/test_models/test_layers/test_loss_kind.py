"""A loss that trains one class against the others, under a head that reads each for itself, is said at once."""

import logging

import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

import mmlattn.register  # noqa: F401

SMOOTH = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, num_classes=3)
LOSSES = [
    (dict(type='mmpretrain.CrossEntropyLoss'), 'softmax'),
    (dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=False), 'softmax'),
    (dict(type='mmpretrain.CrossEntropyLoss', use_soft=True), 'softmax'),
    (dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True), 'sigmoid'),
    (SMOOTH, 'softmax'),
    (dict(SMOOTH, mode='classy_vision'), 'softmax'),
    (dict(SMOOTH, mode='multi_label', use_sigmoid=True), 'sigmoid'),
    (dict(type='mmpretrain.AsymmetricLoss'), 'sigmoid'),
    (dict(type='mmpretrain.FocalLoss'), None),
    (dict(type='mmlattn.SoftmaxL2Loss'), 'softmax'),
]
HEADS = [
    (dict(type='mmlattn.CSRAHead', num_heads=1), 'sigmoid'),
    (dict(type='mmlattn.STLSTMHead', score_norm='softmax'), 'softmax'),
    (dict(type='mmlattn.STLSTMHead', score_norm='sigmoid'), 'sigmoid'),
]


@pytest.mark.parametrize(('head', 'read_by'), HEADS, ids=['CSRA', 'ST-LSTM softmax', 'ST-LSTM sigmoid'])
@pytest.mark.parametrize(('loss', 'trained_by'), LOSSES)
def test_one_line_where_they_disagree(head, read_by, loss, trained_by, caplog):
    logger = MMLogger.get_instance('kinds')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING), DefaultScope.overwrite_default_scope('mmpretrain'):
        MODELS.build(dict(head, num_classes=3, in_channels=4, loss=loss))
    logger.removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records if 'trains scores' in record.getMessage()]
    assert len(said) == (trained_by not in (None, read_by))
    for message in said:
        assert f'trains scores for a {trained_by}, but they are read with a {read_by}' in message
        assert '\n' not in message and 'set ' in message

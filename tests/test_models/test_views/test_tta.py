"""Labels of averaged scores are decided anew, whatever the views decided."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.models import DecidingTTA

BACKBONE = dict(type='mmpretrain.ResNet', depth=18)
HEADS = {
    'decoder': (dict(type='mmlattn.CNNRNNHead', num_classes=3, in_channels=512), [1, 0]),
    'threshold': (dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=512, num_heads=1), [0, 1]),
    'one label': (
        dict(
            type='mmpretrain.LinearClsHead',
            num_classes=3,
            in_channels=512,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
        [1],
    ),
}


@pytest.mark.parametrize(('head', 'expected'), HEADS.values(), ids=HEADS)
def test_labels_of_the_average(head, expected):
    model = DecidingTTA(module=dict(type='mmpretrain.ImageClassifier', backbone=BACKBONE, head=head))
    views = []
    for score, label in (((0.4, 0.9, 0.0), 2), ((0.8, 0.6, 0.2), 0)):
        view = DataSample().set_pred_score(torch.tensor(score)).set_pred_label(label).set_gt_label(1)
        view.set_field(torch.tensor([label]), 'label_path')
        views.append(view)
    for order in (views, views[::-1]):
        (merged,) = model.merge_preds([order])
        assert merged.pred_score.tolist() == pytest.approx([0.6, 0.75, 0.1])
        assert merged.pred_label.tolist() == expected
        assert merged.gt_label.tolist() == [1]
        assert 'label_path' not in merged

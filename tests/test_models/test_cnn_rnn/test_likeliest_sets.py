"""Labels of fused scores keep to what is known: against all sets of six labels, one by one."""

import itertools
import math

import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.models import CNNRNNHead, MultiCropClassifier
from mmlattn.models.cnn_rnn.constraints import LabelConstraints, implied
from mmlattn.models.cnn_rnn.likeliest_sets import likeliest_set
from mmlattn.structures import LabelRules, known_label_tensors, set_known_labels
from mmlattn.utils.errors import UserError

C = 6
RULES = [
    LabelRules(),
    LabelRules(count=2),
    LabelRules(count=C),
    LabelRules(present=(4,), absent=(0, 1)),
    LabelRules(exclusive=((0, 1, 2), (3, 4))),
    LabelRules(parents={5: (4,), 4: (3,)}, absent=(3,)),
    LabelRules(parents={0: (5,), 2: (5,)}, exclusive=((0, 2),), count=3),
    LabelRules(present=(1,), parents={1: (2, 3)}, exclusive=((2, 4, 5),)),
]


def keeps(labels: set[int], rules: LabelRules, least: int, most: int) -> bool:
    lengths = {rules.count} if rules.count is not None else range(least, most + 1)
    return (
        len(labels) in lengths
        and labels >= set(rules.present)
        and not labels & set(rules.absent)
        and all(len(labels & set(group)) < 2 for group in rules.exclusive)
        and all(child not in labels or labels >= set(parents) for child, parents in rules.parents.items())
    )


def odds(labels: set[int], scores: list[float], thr: float) -> float:
    logit = [math.log(p / (1 - p)) - math.log(thr / (1 - thr)) for p in scores]
    return sum(logit[c] for c in labels)


@pytest.mark.parametrize(('least', 'most'), [(0, C), (2, 4)])
@pytest.mark.parametrize('rules', RULES)
def test_is_the_best_of_all_sets_that_keep_to_the_rules(rules, least, most):
    torch.manual_seed(0)
    sets = [set(s) for n in range(C + 1) for s in itertools.combinations(range(C), n)]
    known = implied(LabelConstraints(*known_label_tensors([DataSample()], C, rules)))
    for scores in torch.rand(20, C).double():
        for thr in (0.2, 0.5, 0.8):
            fitting = [s for s in sets if keeps(s, rules, least, most)]
            mask = likeliest_set(scores, thr, least, most, known)
            found = set(mask.nonzero()[:, 0].tolist())
            best = max(fitting, key=lambda s: odds(s, scores.tolist(), thr))
            assert found == best


def test_without_conditions_it_is_the_threshold_ties_and_certainty_included():
    scores = torch.tensor([0.5, 0.499, 1.0, 0.0, 0.501, 0.2])
    for thr in (0.0, 0.2, 0.5, 1.0):
        assert torch.equal(likeliest_set(scores, thr, 0, C, None), scores >= thr)


def head(**test_cfg) -> CNNRNNHead:
    return CNNRNNHead(num_classes=C, in_channels=4, order='random_fixed', test_cfg=test_cfg)


def test_the_head_decides_by_rules_and_by_what_samples_tell():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.2, 0.1, 0.3]] * 2)
    free = [labels.tolist() for labels in head().select(scores)]
    assert free == [[0, 1, 2]] * 2
    samples = [DataSample(), DataSample()]
    set_known_labels(samples[1], LabelRules(present=(4,), count=2))
    chosen = head(constraints=dict(exclusive=[[0, 1]])).select(scores, samples)
    assert [labels.tolist() for labels in chosen] == [[0, 2], [0, 4]]
    assert [labels.tolist() for labels in head(min_len=4).select(scores)] == [[0, 1, 2, 5]] * 2
    assert [labels.tolist() for labels in head(max_len=1).select(scores)] == [[0]] * 2


def test_what_cannot_be_is_refused():
    sample = DataSample(metainfo=dict(img_path='a.jpg'))
    set_known_labels(sample, LabelRules(present=(0, 1), count=2))
    with pytest.raises(UserError, match=r'no set of labels fits what is known of a\.jpg'):
        head(constraints=dict(exclusive=[[0, 1]])).select(torch.rand(1, C), [sample])


def test_crops_of_a_picture_keep_to_no_rules_about_the_picture():
    cfg = dict(type='mmlattn.CNNRNNHead', num_classes=C, in_channels=512, order='random_fixed')
    cfg['test_cfg'] = dict(constraints=dict(count=2))
    backbone = dict(type='mmpretrain.ResNet', depth=18)
    with pytest.raises(UserError, match='crops=None'):
        MultiCropClassifier(backbone=backbone, head=cfg)
    MultiCropClassifier(backbone=backbone, head=cfg, crops=None)

"""What a checkpoint keeps of a decision, and what it makes of scores."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, logit, softmax

from mmlattn.structures import Decision, read_decision, with_decision
from mmlattn.utils.checkpoint.content import check_content
from mmlattn.utils.checkpoint.digests import add_digests
from mmlattn.utils.errors import UserError

CLASSES = ('cat', 'dog', 'fish')


def decision(**changes):
    fields = dict(
        classes=CLASSES, thresholds=(0.25, math.inf, 0.75), scale=(1.0, 2.0, 0.5), shift=(0.0, -1.0, 3.0),
        criterion='f1', split='val', pictures=40,
    )  # fmt: skip
    return Decision(**{**fields, **changes})


def saved(checkpoint):
    file = BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize('meta', [None, dict(epoch=3, iter=9, dataset_meta=dict(classes=CLASSES))])
def test_a_checkpoint_keeps_it_as_plain_values(meta):
    weights = dict(a=torch.ones(2))
    before = weights if meta is None else dict(state_dict=weights, meta=meta)
    if meta is not None:
        add_digests(before)
    after = saved(with_decision(before, decision()))
    check_content(after, 'tuned.pth')  # the digests among it
    assert read_decision(after) == decision()
    assert torch.equal(after['state_dict']['a'], weights['a'])
    assert (meta or {}).items() <= after['meta'].items()
    assert read_decision(before) is None and 'mmlattn_decision' not in (meta or {})
    assert read_decision(with_decision(after, decision(split='test'))).split == 'test'


def test_numbers_of_other_libraries_become_plain():
    made = decision(thresholds=list(np.float32([0.5, 0.25, 1])), scale=list(np.ones(3)), pictures=np.int64(7))
    assert read_decision(saved(with_decision({}, made))).pictures == 7
    assert {type(v) for v in (*made.thresholds, *made.scale)} == {float}


@pytest.mark.parametrize(
    'changes',
    [
        dict(thresholds=[0.5]), dict(thresholds=[0.5, 2.0, 0.5]), dict(thresholds=[0.5, float('nan'), 0.5]),
        dict(scale=[1.0, 0.0, 1.0]), dict(scale=[1.0, -1.0, 1.0]), dict(shift=[math.inf, 0, 0]), dict(shift='abc'),
        dict(classes=['a', 1, 'b']), dict(classes=[]), dict(classes='abc'), dict(pictures=0), dict(pictures=True),
        dict(split=3), dict(activation='relu'), dict(activation='softmax'), dict(scale=[True, 1, 1]), dict(more=1),
    ],
)  # fmt: skip
def test_a_damaged_one_is_refused_in_one_line(changes):
    checkpoint = with_decision({}, decision())
    checkpoint['meta']['mmlattn_decision'] |= changes
    with pytest.raises(UserError, match=r'decision is damaged.*tune_thresholds\.py') as caught:
        read_decision(checkpoint)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('stored', [3, [], {}, dict(classes=['a'])])
def test_what_is_none_is_refused(stored):
    with pytest.raises(UserError, match='decision is damaged'):
        read_decision(dict(meta=dict(mmlattn_decision=stored)))


@pytest.mark.parametrize('checkpoint', [{}, dict(meta=None), dict(meta={}), [], dict(state_dict={})])
def test_there_may_be_none(checkpoint):
    assert read_decision(checkpoint) is None


def test_probabilities_and_labels():
    scores = torch.tensor([[0.2, 0.6, 0.001], [0.25, 1.0, 0.02], [float('nan'), 0.0, 1.0]])
    made = decision()
    found = made.calibrate(scores)
    expected = expit(np.array(made.scale) * logit(scores[:2, :].double().numpy()) + np.array(made.shift))
    expected[1, 1] = 1
    np.testing.assert_allclose(found[:2], expected, rtol=1e-6)
    assert found.dtype == scores.dtype and found[2].isnan().tolist() == [True, False, False]
    assert made.select(found).tolist() == [[False, False, False], [True, False, False], [False, False, True]]
    assert made.never_named() == ['dog']
    plain = decision(scale=[1, 1, 1], shift=[0, 0, 0])
    assert plain.calibrate(scores) is scores
    assert (
        decision(thresholds=[]).select(scores) is None and decision(thresholds=[]).threshold_tensor() is None
    )


def test_names_of_classes_may_repeat():
    """ImageNet has two cranes."""
    made = decision(classes=['crane', 'dog', 'crane'])
    assert read_decision(saved(with_decision({}, made))) == made


def test_the_order_of_pictures_stays():
    scores = torch.sort(torch.rand(1000).repeat(3, 1).T ** 8, dim=0).values
    scores[0], scores[-1] = 0, 1
    assert (decision().calibrate(scores).diff(dim=0) >= 0).all()


def test_a_single_label_has_a_temperature():
    scores = softmax(np.random.default_rng(0).normal(0, 3, (5, 3)), axis=1)
    made = decision(thresholds=[], scale=[0.5] * 3, shift=[0] * 3, activation='softmax')
    found = made.calibrate(torch.from_numpy(scores))
    np.testing.assert_allclose(found, softmax(0.5 * log_softmax(np.log(scores), axis=1), axis=1))
    assert read_decision(saved(with_decision({}, made))) == made

"""The decision in a checkpoint, in inferencer and test runs: taken, overruled, and refused where it does not fit."""

import mmcv
import numpy as np
import pytest
import torch

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.decisions import is_single_label, own_threshold, read_predictions, tune_softmax
from mmlattn.apis.inferencer import resolve_threshold
from mmlattn.apis.prediction_run import label_thresholds
from mmlattn.structures import Decision, select_labels, with_decision
from mmlattn.utils.errors import UserError

CLASSES = tuple('0123456789')


def decision(**changes):
    fields = dict(
        classes=CLASSES, thresholds=[0.05 * (c + 4) for c in range(10)], scale=[1.5] * 10, shift=[-0.2] * 10,
        criterion='f1', split='val', pictures=40, calibration='platt 10',
    )  # fmt: skip
    return Decision(**{**fields, **changes})


@pytest.fixture(scope='module')
def setting(tmp_path_factory, digits_csra):
    """Config, what its checkpoint holds, a picture and a folder."""
    folder = tmp_path_factory.mktemp('deciding')
    config, _, checkpoint = digits_csra
    picture = folder / 'a.png'
    mmcv.imwrite(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), str(picture))
    return config, checkpoint, picture, folder


def opened(setting, checkpoint, **options):
    config, _, _, folder = setting
    torch.save(checkpoint, folder / 'model.pth')
    return MultiLabelInferencer(str(config), str(folder / 'model.pth'), device='cpu', **options)


def test_the_inferencer_takes_it_and_the_user_overrules_it(setting):
    _, checkpoint, picture, _ = setting
    plain = opened(setting, checkpoint)(str(picture))[0]['pred_scores']
    inferencer = opened(setting, with_decision(checkpoint, decision()))
    assert inferencer.decision == decision()
    expected = decision().calibrate(torch.from_numpy(plain))
    found = inferencer(str(picture), with_evidence=True)[0]
    np.testing.assert_array_equal(found['pred_scores'], expected)
    assert sorted(found['pred_labels']) == select_labels(expected, decision().threshold_tensor()).tolist()
    assert (
        sorted(inferencer(str(picture), threshold=0.4)[0]['pred_labels'])
        == np.flatnonzero(expected >= 0.4).tolist()
    )
    assert inferencer(str(picture), topk=3)[0]['pred_labels'] == expected.topk(3).indices.tolist()
    given = dict(zip(CLASSES, decision().thresholds, strict=True)) | {'3': 0.0}
    expected_labels = select_labels(expected, torch.tensor(list(given.values()))).tolist()
    assert sorted(inferencer(str(picture), threshold={'3': 0.0})[0]['pred_labels']) == expected_labels
    ignoring = opened(setting, with_decision(checkpoint, decision()), use_decision=False)
    assert ignoring.decision is None
    np.testing.assert_array_equal(ignoring(str(picture))[0]['pred_scores'], plain)


def test_the_line_that_says_so(setting, monkeypatch):
    said = []
    monkeypatch.setattr('mmlattn.models.views.stored_decision.print_log', lambda text, _: said.append(text))
    opened(setting, with_decision(setting[1], decision()))
    line = (
        'the checkpoint: thresholds (class) for f1 and calibration (platt 10), chosen on 40 pictures of val'
    )
    assert said == [line]
    opened(setting, with_decision(setting[1], decision()), use_decision=False)
    assert said == [line]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        (dict(classes=[*CLASSES[1:], '0']), 'other classes than its weights'),
        (dict(classes=CLASSES[:2], thresholds=[0.5] * 2, scale=[1] * 2, shift=[0] * 2), 'is for 2 classes'),
    ],
)
def test_one_of_other_classes_is_refused(setting, changes, said):
    with pytest.raises(UserError, match=said):
        opened(setting, with_decision(setting[1], decision(**changes)))


def test_a_damaged_one_is_named_by_its_file(setting):
    checkpoint = with_decision(setting[1], decision())
    checkpoint['meta']['mmlattn_decision']['scale'] = None
    with pytest.raises(UserError, match=r'model\.pth: the stored decision is damaged'):
        opened(setting, checkpoint)


def test_thresholds_by_name_leave_the_stored_ones_to_the_others():
    found = resolve_threshold(dict(b=0.3), 3, ['a', 'b', 'c'], (0.1, 0.2, float('inf')))
    assert found.tolist() == pytest.approx([0.1, 0.3, float('inf')])
    assert resolve_threshold(dict(b=0.3), 3, ['a', 'b', 'c']).tolist() == pytest.approx([0.5, 0.3, 0.5])


def sample(**fields):
    scores = torch.tensor([0.2, 0.7, 0.4])
    return dict(pred_score=scores, pred_label=torch.tensor([1]), gt_label=torch.tensor([0]), **fields)


def test_predictions_as_arrays():
    other = sample(gt_label_ignore=torch.tensor([2])) | dict(pred_label=torch.tensor([], dtype=torch.long))
    found = read_predictions([sample(), other], 'a.pkl')
    assert found.targets.tolist() == [[1, 0, 0], [1, 0, -1]]
    assert found.own.tolist() == [[False, True, False], [False] * 3]
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize(
    ('fields', 'said'),
    [
        (dict(stored_decision='f1'), "are not the model's own"),
        (dict(pred_score=torch.rand(2)), 'one score for each class'),
        (dict(pred_score=None), 'one score for each class'),
        (dict(pred_score=torch.tensor([0.2, 3.0, 0.1])), 'expected probabilities'),
    ],
)
def test_predictions_that_cannot_be_used(fields, said):
    with pytest.raises(UserError, match=said):
        read_predictions([sample(), sample() | fields], 'a.pkl')


def test_labels_by_given_thresholds_say_so(setting):
    """Whoever reads them later must not take them for the model's own, nor for those of the stored decision."""
    _, checkpoint, picture, _ = setting
    for stored, start in ((None, ''), (decision(), f'{decision().summary()}; ')):
        inferencer = opened(setting, with_decision(checkpoint, stored) if stored else checkpoint)
        for given, end in (
            (dict(threshold=0.4), 'labels by threshold 0.4'),
            (dict(topk=2), 'labels by the 2 best'),
            (dict(threshold={'3': 0.1}, topk=2), 'labels by thresholds of their own and the 2 best'),
        ):
            found = inferencer(str(picture), return_datasamples=True, **given)[0]
            assert found.get('stored_decision') == start + end
        plain = inferencer(str(picture), return_datasamples=True)[0]
        assert plain.get('stored_decision') == (stored.summary() if stored else None)


def test_thresholds_are_named_only_where_they_decide_on_these_scores(setting):
    _, checkpoint, _, _ = setting
    inferencer = opened(setting, with_decision(checkpoint, decision(thresholds=[])))
    assert label_thresholds(inferencer, None, None) is None  # the head's, on scores before calibration
    assert label_thresholds(inferencer, 0.4, None) == [0.4] * 10
    inferencer = opened(setting, with_decision(checkpoint, decision()))
    assert label_thresholds(inferencer, None, None) == list(decision().thresholds)
    assert label_thresholds(opened(setting, checkpoint), None, None) == [0.5] * 10


@pytest.mark.parametrize('folds', [2, 5])
def test_a_single_label_with_fewer_pictures_than_folds(folds):
    samples = [sample()] * (folds - 1)
    with pytest.raises(UserError, match=f'{folds - 1} pictures are too few for {folds} folds'):
        tune_softmax(samples, folds, 0)


@pytest.mark.parametrize(
    ('head', 'threshold', 'single'),
    [
        (dict(type='mmpretrain.MultiLabelLinearClsHead'), 0.5, False),
        (dict(type='mmpretrain.MultiLabelLinearClsHead', thr=0.3), 0.3, False),
        (dict(type='mmpretrain.MultiLabelLinearClsHead', topk=2), None, False),
        (dict(type='mmlattn.STLSTMHead', thr=0.3, topk=1), None, False),
        (dict(type='mmpretrain.LinearClsHead'), None, True),
    ],
)
def test_the_rules_of_heads(head, threshold, single):
    model = get_model_of(head)
    assert is_single_label(model) == single
    if not single:
        from mmlattn.models.views.decision import decide_labels

        scores = torch.rand(20, 3)
        samples = [
            dict(pred_score=s, pred_label=label, gt_label=torch.tensor([0]))
            for s, label in zip(scores, decide_labels(model.head, scores), strict=True)
        ]
        assert own_threshold(model, read_predictions(samples, 'x')) == threshold


def test_label_decoders_keep_their_own_rule():
    head = dict(type='mmlattn.CNNRNNHead', decoder=dict(type='joint', embed_dims=8, hidden_dims=8))
    with pytest.raises(UserError, match='CNNRNNHead decides on sets of labels'):
        is_single_label(get_model_of(dict(head, order='random_fixed')))


def get_model_of(head):
    from mmpretrain.registry import MODELS

    backbone = dict(type='mmpretrain.ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4)
    head = dict(num_classes=3, in_channels=32, **head)
    return MODELS.build(dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head))

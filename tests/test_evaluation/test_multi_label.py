"""The multi-label functions against scikit-learn, mmpretrain, brute force and the codes people compare with."""

import numpy as np
import pytest
import torch
from mmpretrain.evaluation import AveragePrecision, MultiLabelMetric
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from mmlattn.evaluation.functional.multi_label import average_precision, label_counts, multi_label_report
from mmlattn.models import CSRAHead, STLSTMHead

# What the CSRA code prints for these scores; 1 present, 0 absent, -1 ignored.
SCORES = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.6], [0.1, 0.6, 0.9], [0.8, 0.3, 0.4]])
PRINTED = {
    'csra': (
        [[1, -1, 0], [-1, 1, 0], [0, 0, 1], [1, 0, -1]],
        dict(OP=0.6, OR=0.75, OF1=0.6667, CP=0.5, CR=0.6667, CF1=0.5714),
    ),
    'csra_wider': (
        [[1, -1, 0], [0, 1, -1], [-1, 0, 1], [1, 0, -1]],
        dict(OP=0.428571, OR=0.75, OF1=0.545455, CP=0.388889, CR=0.666667, CF1=0.491228),
    ),
}


def draw(images=97, classes=7, levels=None, ignore=0.0, seed=0):
    """Seeded scores and targets; ``levels`` makes ties, ``ignore`` is the share of ignored entries."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, classes)) < 0.3).astype(np.int64)
    scores = 1 / (1 + np.exp(-rng.standard_normal((images, classes)) - targets + 0.5))
    if levels:
        scores = np.round(scores * levels) / levels
    targets[rng.random(targets.shape) < ignore] = -1
    return scores.astype(np.float32), targets


@pytest.mark.parametrize('levels', [None, 4])
@pytest.mark.parametrize('ignore', [0.0, 0.2])
def test_average_precision_is_scikit_learns_also_with_ties(levels, ignore):
    scores, targets = draw(levels=levels, ignore=ignore)
    expected = [
        average_precision_score(t[t >= 0], s[t >= 0]) for s, t in zip(scores.T, targets.T, strict=True)
    ]
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=1e-12)


def test_average_precision_is_not_interpolated_as_vocs():
    """Positives at ranks 1, 3 and 4: precisions 1, 2/3 and 3/4; VOC takes the best at that recall or a higher one."""
    scores, targets = np.array([[0.9], [0.8], [0.7], [0.6]]), np.array([[1], [0], [1], [1]])
    precision = np.array([1, 2 / 3, 3 / 4])
    voc_2010 = np.maximum.accumulate(precision[::-1]).mean()
    assert average_precision(scores, targets)[0] == pytest.approx(precision.mean())
    assert voc_2010 == pytest.approx(5 / 6) and voc_2010 > precision.mean()


def test_order_of_tied_images_means_nothing():
    scores, targets = draw(levels=3)
    order = np.random.default_rng(1).permutation(len(scores))
    np.testing.assert_allclose(
        average_precision(scores, targets), average_precision(scores[order], targets[order]), rtol=1e-12
    )


def test_threshold_block_is_scikit_learns():
    scores, targets = draw()
    report = multi_label_report(scores, targets).summary
    for average, names in dict(micro=('OP', 'OR', 'OF1'), macro=('CP', 'CR', 'macro_F1')).items():
        expected = precision_recall_fscore_support(targets, scores >= 0.5, average=average, zero_division=0)
        np.testing.assert_allclose([report[name] for name in names], expected[:3], rtol=1e-12)
    assert report['CF1'] == pytest.approx(2 / (1 / report['CP'] + 1 / report['CR']))


def test_absent_and_silent_classes():
    scores, targets = draw()
    targets[:, 2] = 0  # absent, though predicted now and then
    scores[:, 4] *= 0.1  # present, never predicted
    result = multi_label_report(scores, targets)
    keep = [0, 1, 3, 4, 5, 6]
    rest = multi_label_report(scores[:, keep], targets[:, keep]).summary
    assert np.flatnonzero(result.per_class['positives'] == 0).tolist() == [2]
    for name in ('mAP', 'CP', 'CR', 'CF1', 'macro_F1'):
        assert result.summary[name] == pytest.approx(rest[name])
    assert result.summary['OP'] < rest['OP'], 'decisions for an absent class are wrong decisions'
    assert np.isnan(result.per_class['AP'][2]) and np.isnan(result.per_class['precision'][4])
    # csra and mlgcn add one to OP's denominator for the silent class: hand count
    hits, predicted = ((scores >= 0.5) & (targets == 1)).sum(), (scores >= 0.5).sum()
    for convention in ('csra', 'mlgcn'):
        assert multi_label_report(scores, targets, convention=convention).summary['OP'] == pytest.approx(
            hits / (predicted + 1)
        )


def test_silent_classes_add_to_overall_precision_whether_absent_or_not():
    """Class 0 is predicted twice and hit once, 1 is present and silent, 2 absent and silent: 1 / (2 + 1 + 1)."""
    scores, targets = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]]), np.array([[1, 0, 0], [0, 1, 0]])
    expected = dict(mmlattn=1 / 2, mmpretrain=1 / 2, csra=1 / 4, csra_wider=1 / 4, mlgcn=1 / 4)
    for convention, precision in expected.items():
        report = multi_label_report(scores, targets, convention=convention).summary
        assert (report['OP'], report['OR']) == (precision, 1 / 2), convention


@pytest.mark.parametrize('topk', [1, 3])
@pytest.mark.parametrize('ignore', [0.0, 0.2])
def test_mmpretrain_convention_is_mmpretrain(topk, ignore):
    scores, targets = draw(levels=50, ignore=ignore)
    targets[:, 1] = 0  # absent
    ours = multi_label_report(scores, targets, topk=(topk,), convention='mmpretrain').summary
    score, target = torch.from_numpy(scores), torch.from_numpy(targets)
    assert 100 * ours['mAP'] == pytest.approx(AveragePrecision.calculate(score, target).item(), rel=1e-5)
    for suffix, options in {'': dict(thr=0.5), f'_top{topk}': dict(topk=topk)}.items():
        for average, names in dict(macro=('CP', 'CR', 'CF1'), micro=('OP', 'OR', 'OF1')).items():
            # clone: MultiLabelMetric writes 0 over the -1 of the targets it is given
            theirs = MultiLabelMetric.calculate(score, target.clone(), average=average, **options)
            np.testing.assert_allclose([100 * ours[n + suffix] for n in names], theirs[:3], rtol=1e-5)


def test_single_classes_in_mmpretrains_convention_are_mmpretrains():
    scores, targets = draw(levels=50)
    targets[:, 1] = 0  # absent, though predicted
    targets[:, 2], scores[:, 2] = 0, 0.1  # absent and silent
    scores[:, 4] *= 0.1  # present and silent
    ours = multi_label_report(scores, targets, convention='mmpretrain').per_class
    score, target = torch.from_numpy(scores), torch.from_numpy(targets)
    theirs = [AveragePrecision.calculate(score, target, average=None)]
    theirs += MultiLabelMetric.calculate(score, target.clone(), average=None, thr=0.5)[:3]
    for name, values in zip(('AP', 'precision', 'recall', 'F1'), theirs, strict=True):
        np.testing.assert_allclose(100 * ours[name], values, rtol=1e-5)
    assert ours['positives'].dtype.kind == ours['predicted'].dtype.kind == 'i'


def test_what_mmpretrain_cannot_count_is_an_ap_of_nought_in_its_convention():
    scores, targets = draw(images=5, classes=2)
    targets[:, 0] = -1  # every image is ignored
    with pytest.raises(IndexError):
        AveragePrecision.calculate(torch.from_numpy(scores), torch.from_numpy(targets))
    result = multi_label_report(scores, targets, convention='mmpretrain')
    assert result.summary['mAP'] == result.per_class['AP'][1] / 2 > 0


def test_half_precision_meets_the_threshold_in_single_precision():
    """0.1 is 0.09998 in half precision, in which mmpretrain compares; both are told apart here."""
    scores, targets = torch.tensor([[0.1], [0.6]], dtype=torch.float16), torch.tensor([[0], [1]])
    theirs = MultiLabelMetric.calculate(scores, targets.clone(), thr=0.1)[0]
    ours = multi_label_report(scores, targets, threshold=0.1, convention='mmpretrain').summary['CP']
    assert (theirs.item(), 100 * ours) == (50, 100)


@pytest.mark.parametrize('convention', PRINTED)
def test_csra_code_to_the_printed_digits(convention):
    targets, expected = PRINTED[convention]
    result = multi_label_report(SCORES, targets, convention=convention)
    digits = len(str(expected['CF1'])) - 2
    assert {name: round(result.summary[name], digits) for name in expected} == expected
    np.testing.assert_allclose(result.per_class['AP'], [1, 1 / 3, 1])


def test_mlgcn_top3_keeps_the_threshold_and_counts_ignored_as_negative():
    scores, targets = draw(ignore=0.1)
    hits, predicted, positives = np.zeros((3, targets.shape[1]))
    for score, target in zip(scores, targets, strict=True):
        for c in range(len(score)):
            chosen = (score > score[c]).sum() < 3 and score[c] >= 0.5
            hits[c] += chosen and target[c] == 1
            predicted[c] += chosen
            positives[c] += target[c] == 1
    cp, cr = (hits / predicted).mean(), (hits / positives).mean()
    op, or_ = hits.sum() / predicted.sum(), hits.sum() / positives.sum()
    expected = dict(CP=cp, CR=cr, CF1=2 * cp * cr / (cp + cr), OP=op, OR=or_, OF1=2 * op * or_ / (op + or_))
    report = multi_label_report(scores, targets, convention='mlgcn').summary
    for name, value in expected.items():
        assert report[f'{name}_top3_thr'] == pytest.approx(value)
        assert report[f'{name}_top3'] != pytest.approx(value)


@pytest.mark.parametrize('images', [1, 2, 17, 200])
@pytest.mark.parametrize('levels', [None, 2])
def test_mlgcn_on_logits_in_every_corner(images, levels):
    """As ``util.py`` of ML-GCN (311f521) counts: logits, at least 0, ignored ones negative, ties as torch."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logits = rng.standard_normal((images, 5)).astype(np.float32)
        logits = np.round(logits * levels) / levels if levels else logits
        targets = rng.choice([-1, 0, 1], logits.shape, p=[0.2, 0.4, 0.4])
        best = torch.from_numpy(logits).topk(3, dim=1).indices.numpy()
        among = np.zeros(logits.shape, bool)
        np.put_along_axis(among, best, True, axis=1)
        report = multi_label_report(logits, targets, threshold=0, convention='mlgcn').summary
        for suffix, chosen in {'': logits >= 0, '_top3_thr': (logits >= 0) & among}.items():
            hits, present = (chosen & (targets == 1)).sum(axis=0), (targets == 1).sum(axis=0)
            decided = np.maximum(chosen.sum(axis=0), 1)
            if not hits.any():
                assert report['OF1' + suffix] in (0, pytest.approx(np.nan, nan_ok=True)), '0 / 0 there'
                continue
            assert report['OP' + suffix] == pytest.approx(hits.sum() / decided.sum())
            assert report['OR' + suffix] == pytest.approx(hits.sum() / present.sum())
            precision, there = hits / decided, present > 0
            assert report['CR' + suffix] == pytest.approx((hits[there] / present[there]).mean())
            assert report['CP' + suffix] == pytest.approx(precision[there].mean())
            # Theirs, where a class is absent: one of precision 0. CR and CF1 are then NaN.
            assert precision.mean() == pytest.approx(report['CP' + suffix] * there.mean())


def test_sigmoid_makes_logits_equal():
    """Why docs/metrics.md asks for logits where ML-GCN's numbers are wanted to the last digit."""
    logits = torch.tensor([[20.0], [30.0], [-1e-8]])
    probs = logits.sigmoid()
    assert probs[0] == probs[1] == 1 and probs[2] == 0.5
    targets = torch.tensor([[0], [1], [0]])
    by_logits, by_probs = (multi_label_report(s, targets, t).summary for s, t in ((logits, 0), (probs, 0.5)))
    assert (by_logits['mAP'], by_probs['mAP']) == (1, 0.5)
    assert (by_logits['OP'], by_probs['OP']) == (1 / 2, 1 / 3)


def test_no_positive_at_all_is_nan_and_not_zero():
    report = multi_label_report(SCORES, np.zeros((4, 3), int)).summary
    assert np.isnan([report[name] for name in ('mAP', 'CP', 'CR', 'CF1', 'OR', 'OF1', 'macro_F1')]).all()
    assert report['OP'] == 0


def test_fewer_classes_than_k():
    for convention in ('mmlattn', 'mmpretrain'):
        report = multi_label_report(SCORES, SCORES > 0.5, topk=(5,), convention=convention).summary
        assert report['OR_top5'] == 1 and report['OP_top5'] == (SCORES > 0.5).mean(), 'all labels are named'


def test_top3_of_tied_scores_are_those_that_a_head_selects():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((200, 9)).round(1).astype(np.float32), rng.random((200, 9)) < 0.4
    heads = STLSTMHead(9, 4, topk=3), CSRAHead(9, 4, num_heads=1, lam=0.1, topk=3)
    for row, target in zip(scores, targets, strict=True):
        labels, again = (head.select(torch.from_numpy(row[None]))[0].tolist() for head in heads)
        assert labels == again == sorted(np.argsort(-row, kind='stable')[:3].tolist())
        hits = target[labels].sum()
        report = multi_label_report(row[None], target[None]).summary
        assert report['OP_top3'] == pytest.approx(hits / 3)
        assert np.isnan(report['OR_top3']) if not target.any() else report['OR_top3'] == hits / target.sum()


@pytest.mark.parametrize(
    ('scores', 'targets', 'words'),
    [
        ([[np.nan, 0.1]], [[1, 0]], 'NaN or infinity'),
        ([[0.2, 0.1]], [[1, 0, 1]], r'\(1, 2\) and \(1, 3\)'),
        (np.zeros((0, 3)), np.zeros((0, 3)), 'at least 1'),
        ([[0.2, 0.1]], [[2, 0]], r'targets must be 1 .*got \[2\]'),
        ([[0.2, 0.1]], [[1, 255]], r'got \[255\]'),
        ([[0.2, 0.1]], [[1, 257]], r'got \[257\]'),
        ([[0.2, 0.1]], torch.tensor([[1, 0.7]]), r'got \[0\.7\]'),
        ([[0.2, 0.1]], [[1, np.nan]], r'got \[nan\]'),
    ],
)
def test_bad_input(scores, targets, words):
    with pytest.raises(ValueError, match=words):
        multi_label_report(scores, targets)


@pytest.mark.parametrize('targets', [[[2, 0]], [[0.7, 0]]])
def test_counts_refuse_other_targets(targets):
    with pytest.raises(ValueError, match='targets must be'):
        label_counts(np.ones((1, 2), bool), targets)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(topk=3), 'topk must be a list .*got 3'),
        (dict(topk=(True,)), 'whole numbers'),
        (dict(topk=(0,)), 'at least 1'),
        (dict(threshold=float('nan')), 'threshold must be a finite number, got nan'),
        (dict(threshold='0.5'), "got '0.5'"),
        (dict(convention='coco'), "convention must be one of .*got 'coco'"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        multi_label_report(SCORES, SCORES > 0.5, **options)


def test_unknown_rule_for_ties():
    with pytest.raises(ValueError, match=r"tied_scores must be one of .*got 'randomly'"):
        average_precision(SCORES, SCORES > 0.5, tied_scores='randomly')


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=NO_GPU)])
def test_tensors_of_any_precision_with_gradients(dtype, device):
    scores, targets = draw(ignore=0.1)
    scores = torch.from_numpy(scores).to(device, dtype).requires_grad_()
    expected = multi_label_report(scores.detach().cpu().double().numpy(), targets)
    report = multi_label_report(scores, torch.from_numpy(targets).to(device))
    assert report.summary == expected.summary


def test_views_are_read_in_their_own_order():
    scores, targets = draw()
    flipped = multi_label_report(scores[::-1, ::-1], targets[::-1, ::-1])
    assert (
        flipped.per_class['AP'][::-1].tolist() == multi_label_report(scores, targets).per_class['AP'].tolist()
    )


@pytest.mark.parametrize('levels', [3, 50])
def test_tied_scores_go_as_the_sort_of_each_code_leaves_them(levels):
    """CSRA's code drops ignored images and sorts by numpy, ML-GCN's sorts all by torch and passes over them."""
    differ = 0
    for seed in range(10):
        scores, targets = draw(images=400, levels=levels, ignore=0.2, seed=seed)
        csra, mlgcn = (
            multi_label_report(scores, targets, convention=name).per_class['AP'] for name in ('csra', 'mlgcn')
        )
        for c, (row, label) in enumerate(zip(scores.T, targets.T, strict=True)):
            kept = [(float(s), int(t)) for s, t in zip(row, label, strict=True) if t != -1]
            order = np.argsort([-s for s, _ in kept])
            assert csra[c] == pytest.approx(precision_at_hits([kept[i][1] for i in order]), abs=1e-12)
            order = torch.sort(torch.tensor(row), dim=0, descending=True).indices.tolist()
            expected = precision_at_hits([label[i] for i in order if label[i] != -1])
            assert mlgcn[c] == pytest.approx(expected, abs=1e-12)
            differ += abs(csra[c] - mlgcn[c]) > 1e-3
    assert differ > 10


def precision_at_hits(labels):
    hits, precisions = 0, []
    for rank, label in enumerate(labels, 1):
        if label == 1:
            hits += 1
            precisions.append(hits / rank)
    return sum(precisions) / hits

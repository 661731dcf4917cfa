"""What is taken out of fold: what pays, and nothing that does not."""

import numpy as np
import pytest
from scipy.special import expit

from mmlattn.evaluation.functional.bootstrap import bootstrap_rates, draw_pictures
from mmlattn.evaluation.functional.multi_label import multi_label_report
from mmlattn.evaluation.functional.tuning import (
    CLASS,
    GLOBAL,
    OWN,
    Target,
    candidate_thresholds,
    fold_numbers,
    try_halves,
    tune,
)
from mmlattn.utils.errors import UserError


def drawn(seed, scale, shift, size=600, classes=4, base=-1.0):
    """Scores whose labels were drawn by sigmoid(scale z + shift)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(base, 2, (size, classes))
    y = (rng.random(z.shape) < expit(scale * z + shift)).astype(int)
    y[rng.random(z.shape) < 0.05] = -1
    return expit(z).astype(np.float32), y


def own(scores):
    return scores >= 0.5


def test_a_shift_of_all_classes_is_put_right_by_one_threshold():
    scores, targets = drawn(0, 1.0, 2.0)
    found = tune(scores, targets, own(scores))
    assert found.scope == GLOBAL and found.calibration_name == 'common platt'
    assert np.ptp(found.thresholds) == 0
    assert found.calibration.shift == pytest.approx([2.0] * 4, abs=0.3)
    before, after = found.scopes[0].values, next(r for r in found.scopes if r.name == GLOBAL)
    assert after.gain > 3 * after.spread > 0 and after.values['CF1'] > before['CF1']


def test_shifts_of_each_class_need_their_own():
    shifts = np.array([3.0, 0.0, -2.0, 1.0])
    scores, targets = drawn(1, 1.0, shifts)
    found = tune(scores, targets, own(scores), calibrate_by='none')
    assert found.scope not in (OWN, GLOBAL)
    # The best threshold is lower where the score says too little; order by what was put in.
    assert np.argsort(-found.thresholds).tolist() == np.argsort(shifts).tolist()
    assert 'platt' in tune(scores, targets, own(scores)).calibration_name


@pytest.mark.parametrize('seed', range(3))
def test_where_nothing_pays_the_model_keeps_its_rule(seed):
    """At the best threshold of the truth already: of F1, about half of the best F1."""
    scores, targets = drawn(seed, 8.0, 0.0, classes=3)
    found = tune(scores, targets, own(scores))
    assert found.scope == OWN and found.thresholds is None
    np.testing.assert_array_equal(found.held_out, own(scores))


def test_rare_classes_are_not_fitted_to_their_few_pictures():
    """Twelve classes with a dozen positives in each half, and one truth for all: a threshold each costs OF1."""
    taken, fitted = [], []
    for seed in range(5):
        scores, targets = drawn(seed, 1.0, 1.0, size=300, classes=12, base=-4.5)
        (half,) = try_halves(scores, targets, own(scores), seeds=1)
        inside = fold_numbers(targets, 2, 0) == 0
        plain = candidate_thresholds(scores[inside], targets[inside], Target('f1'))[CLASS]
        taken.append(half.tuned['OF1'])
        fitted.append(multi_label_report(scores[~inside], targets[~inside], plain).summary['OF1'])
        assert half.tuned['CF1'] > half.own['CF1'] - half.spread
    assert np.mean(taken) > np.mean(fitted) + 0.01


def test_folds_part_the_pictures_evenly():
    _, targets = drawn(0, 1.0, 0.0, size=203)
    numbers = fold_numbers(targets, 5, 0)
    counts = np.bincount(numbers)
    assert len(counts) == 5 and counts.max() - counts.min() <= 20
    shares = np.array([(targets[numbers == n] == 1).mean(axis=0) for n in range(5)])
    assert np.ptp(shares, axis=0).max() < 0.05
    assert (fold_numbers(targets, 5, 0) == numbers).all() and (fold_numbers(targets, 5, 1) != numbers).any()
    assert sorted(np.bincount(fold_numbers(targets[:, :1], 2, 0))) == [101, 102]


def test_what_must_be_reached():
    scores, targets = drawn(2, 1.0, 0.0)
    rank = np.argsort(scores[:, 3])
    targets[:, 3] = 0
    targets[rank[:20], 3] = 1  # the lowest scores are the positives: no cut has any precision to speak of
    chosen = candidate_thresholds(scores, targets, Target('precision', 0.9))
    assert list(chosen) == [GLOBAL, CLASS]
    assert np.isinf(chosen[CLASS][3]) and np.isfinite(chosen[CLASS][:3]).all()
    report = multi_label_report(scores, targets, chosen[CLASS])
    assert (report.per_class['precision'][:3] >= 0.9).all()
    assert np.isinf(chosen[GLOBAL]).all()  # the best scores of all are of that class
    scores, targets = scores[:, :3], targets[:, :3]
    chosen = candidate_thresholds(scores, targets, Target('precision', 0.9))
    assert multi_label_report(scores, targets, chosen[GLOBAL]).summary['OP'] >= 0.9
    recall = candidate_thresholds(scores, targets, Target('recall', 0.8))
    assert (multi_label_report(scores, targets, recall[CLASS]).per_class['recall'] >= 0.8).all()
    assert multi_label_report(scores, targets, recall[GLOBAL]).summary['OR'] >= 0.8
    found = tune(scores, targets, own(scores), Target('recall', 0.8))
    assert found.scope in (GLOBAL, CLASS)


def test_unknown_labels_and_the_model_that_said_nan():
    scores, targets = drawn(0, 1.0, 2.0, size=200)
    other = np.where(targets < 0, 1 - scores, scores)
    first, second = (tune(s, targets, np.where(targets < 0, False, own(scores))) for s in (scores, other))
    assert first.scope == second.scope
    np.testing.assert_array_equal(first.thresholds, second.thresholds)
    scores[:5] = np.nan
    found = tune(scores, targets, own(scores))
    assert np.isnan(found.probabilities[:5]).all() and not found.held_out[:5].any()
    assert np.isfinite(found.thresholds).all() and np.isfinite(found.calibration.scale).all()


def test_spreads_are_those_of_drawing_pictures_anew():
    scores, targets = drawn(0, 1.0, 0.0, size=400)
    draws = draw_pictures(len(scores), 200, seed=0)
    sampled = bootstrap_rates([own(scores)], targets, draws, lambda rates: rates['OR'])
    assert sampled.mean() == pytest.approx(multi_label_report(scores, targets).summary['OR'], abs=0.01)
    share, count = sampled.mean(), (targets == 1).sum()
    assert sampled.std() == pytest.approx(np.sqrt(share * (1 - share) / count), rel=0.35)


def test_what_cannot_be_tuned_says_so():
    with pytest.raises(UserError, match='too few'):
        tune(np.zeros((5, 2)), np.ones((5, 2)), np.zeros((5, 2), bool))
    with pytest.raises(UserError, match='too few'):
        tune(np.zeros((50, 2)), np.zeros((50, 2)), np.zeros((50, 2), bool))
    scores, targets = drawn(0, 1, 0, size=12)
    with pytest.raises(UserError, match='12 pictures are too few for 20 folds'):
        tune(scores, targets, own(scores), folds=20)


@pytest.mark.parametrize(
    'text', ['F1', 'precision', 'precision=', 'recall=2', 'recall=0', 'f1=0.5', 'recall=x']
)
def test_targets_that_are_none(text):
    with pytest.raises(UserError, match='the target must be'):
        Target.parse(text)


def test_targets():
    assert [str(Target.parse(text)) for text in ('f1', 'precision=0.90')] == ['f1', 'precision=0.9']

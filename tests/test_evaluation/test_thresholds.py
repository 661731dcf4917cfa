"""Thresholds against all that there are, one by one, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve

from mmlattn.evaluation.functional.multi_label import multi_label_report
from mmlattn.evaluation.functional.thresholds import (
    NEVER,
    best_common_f1,
    best_f1,
    pooled,
    reach_precision,
    reach_recall,
    shrink,
    sweep,
)
from mmlattn.utils.errors import UserError


def drawn(seed, unknown=True, nan=True):
    """Scores with many ties, and three-valued targets."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 40), rng.integers(1, 6)
    scores = (rng.integers(0, 8, shape) / 7).astype(np.float32)
    targets = rng.integers(-1 if unknown else 0, 2, shape)
    scores[rng.random(shape) < 0.1 * nan] = np.nan
    return scores, targets


def rates(scores, targets, threshold):
    """Precision, recall, F1 and predictions of one class, in the plainest words."""
    known = targets >= 0
    with np.errstate(invalid='ignore'):
        predicted = (scores >= threshold) & known
    hits, positives = (predicted & (targets == 1)).sum(), (targets == 1).sum()
    total = predicted.sum()
    return hits / max(total, 1), hits / positives, 2 * hits / max(total + positives, 1), total


@pytest.mark.parametrize('seed', range(25))
def test_no_other_threshold_does_better(seed):
    scores, targets = drawn(seed)
    swept = sweep(scores, targets)
    chosen = dict(f1=best_f1(swept), precision=reach_precision(swept, 0.6), recall=reach_recall(swept, 0.7))
    for c in range(scores.shape[1]):
        column, truth = scores[:, c], targets[:, c]
        if not (truth == 1).any():
            assert all(np.isnan(values[c]) for values in chosen.values())
            continue
        grid = [rates(column, truth, t) for t in np.unique(column[~np.isnan(column)])]
        usual = {name: rates(column, truth, values[c]) for name, values in chosen.items()}
        assert usual['f1'][2] == max([f1 for *_, f1, _ in grid], default=0)
        reaching = [recall for precision, recall, *_ in grid if precision >= 0.6 and recall > 0]
        assert (chosen['precision'][c] == NEVER) == (not reaching)
        if reaching:
            assert usual['precision'][0] >= 0.6 and usual['precision'][1] == max(reaching)
        reaching = [precision for precision, recall, *_ in grid if recall >= 0.7]
        if reaching:
            assert usual['recall'][1] >= 0.7 and usual['recall'][0] == max(reaching)
        elif np.isfinite(chosen['recall'][c]):
            assert usual['recall'][1] == max(recall for _, recall, *_ in grid)


@pytest.mark.parametrize('seed', range(25))
def test_no_other_common_threshold_does_better(seed):
    scores, targets = drawn(seed, nan=False)
    if not (targets == 1).any():
        with pytest.raises(UserError, match='no class has a positive'):
            best_common_f1(sweep(scores, targets))
        return

    def cf1(threshold):
        return multi_label_report(scores, targets, float(threshold)).summary['CF1']

    best = max(map(cf1, np.unique(scores)))
    assert cf1(best_common_f1(sweep(scores, targets))) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize('seed', range(5))
def test_the_cuts_are_those_of_scikit_learn(seed):
    scores, targets = drawn(seed, unknown=False, nan=False)
    swept = sweep(scores, targets)
    for c in range(scores.shape[1]):
        if not targets[:, c].any():
            continue
        precision, recall, thresholds = precision_recall_curve(targets[:, c], scores[:, c])
        cuts = swept.cuts[:, c]
        ours = [values[cuts, c][::-1] for values in (swept.precision(), swept.recall(), swept.scores)]
        # scikit-learn may leave out the cuts after all positives are found, and adds the point (0, 1).
        for theirs, mine in zip((precision[:-1], recall[:-1], thresholds), ours, strict=True):
            np.testing.assert_allclose(mine[-len(theirs) :], theirs)
        chosen = scores[:, c] >= best_f1(swept)[c]
        assert f1_score(targets[:, c], chosen) == pytest.approx(swept.f1()[cuts, c].max())


def test_a_threshold_lies_between_two_scores_of_single_precision():
    upper = np.float32(0.3)
    scores = np.array([[upper, 0.8], [np.nextafter(upper, np.float32(0)), 0.4]], dtype=np.float32)
    found = best_f1(sweep(scores, np.array([[1, 1], [0, 0]]))).astype(np.float32)
    assert scores[1, 0] < found[0] <= scores[0, 0]
    assert found[1] == pytest.approx(0.6)


def test_unknown_labels_change_nothing():
    scores, targets = drawn(3)
    other = np.where(targets < 0, 1 - scores, scores)
    for choose in (best_f1, best_common_f1):
        np.testing.assert_array_equal(choose(sweep(scores, targets)), choose(sweep(other, targets)))


def test_pooled_classes_share_one_threshold():
    scores, targets = drawn(1, nan=False)
    found = float(best_f1(sweep(*pooled(scores, targets)))[0])
    best = max(multi_label_report(scores, targets, float(t)).summary['OF1'] for t in np.unique(scores))
    assert multi_label_report(scores, targets, found).summary['OF1'] == pytest.approx(best)


def test_pulled_thresholds():
    own, positives = np.array([0.9, np.nan, NEVER, 0.2]), np.array([10, 0, 3, 10**9])
    pulled = shrink(own, 0.5, positives, 10)
    assert pulled == pytest.approx([0.75, 0.5, NEVER, 0.2])  # halfway between logits of 0.9 and 0.5: 3 to 1
    np.testing.assert_array_equal(shrink(own, 0.5, positives, 0), [0.9, 0.5, NEVER, 0.2])


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match=r'\(N, C\)'):
        sweep(np.zeros((2, 3)), np.zeros((3, 2)))

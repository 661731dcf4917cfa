"""Errors by class, pair, picture and label, against scikit-learn, closed forms and counting one by one."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

from mmlattn.evaluation.functional import errors
from mmlattn.utils.errors import UserError


def drawn(seed=0, pictures=60, classes=5, unknown=0.2):
    """Scores, decisions at a threshold of each class, and targets of which some are unknown."""
    rng = np.random.default_rng(seed)
    scores = rng.random((pictures, classes))
    targets = (rng.random((pictures, classes)) < 0.4).astype(int)
    targets[rng.random((pictures, classes)) < unknown] = -1
    return scores, scores >= rng.random(classes), targets


@pytest.mark.parametrize('unknown', [0, 0.3])
def test_class_tables_are_those_of_scikit_learn(unknown):
    scores, predicted, targets = drawn(unknown=unknown)
    tables = errors.class_tables(predicted, targets)
    rates = errors.class_columns(scores, predicted, targets)
    for c in range(targets.shape[1]):
        known = targets[:, c] >= 0
        true, ours = targets[known, c], predicted[known, c]
        expected = metrics.multilabel_confusion_matrix(true[:, None], ours[:, None])[-1]
        assert [tables.tn[c], tables.fp[c], tables.fn[c], tables.tp[c]] == expected.ravel().tolist()
        assert tables.unknown[c] == (~known).sum()
        wanted = [f(true, ours) for f in (metrics.precision_score, metrics.recall_score, metrics.f1_score)]
        wanted.append(metrics.average_precision_score(true, scores[known, c]))
        assert [rates[name][c] for name in ('precision', 'recall', 'F1', 'AP')] == pytest.approx(wanted)
    if not unknown:
        whole = metrics.multilabel_confusion_matrix(targets, predicted)
        assert np.array_equal(whole, np.moveaxis([[tables.tn, tables.fp], [tables.fn, tables.tp]], -1, 0))


def test_pair_tables_count_pictures_one_by_one():
    _, predicted, targets = drawn(seed=1)
    tables = errors.pair_tables(predicted, targets)
    wanted = {name: np.zeros((5, 5), int) for name in tables._fields}
    for p, t in zip(predicted, targets, strict=True):
        for a, b in itertools.permutations(range(5), 2):
            if min(t[a], t[b]) < 0:
                continue
            wanted['predicted'][a, b] += p[a] and p[b]
            wanted['present'][a, b] += t[a] and t[b]
            wanted['added'][a, b] += p[a] and p[b] and not t[a] and t[b]
            wanted['invented'][a, b] += p[a] and p[b] and not t[a] and not t[b]
            wanted['dropped'][a, b] += t[a] and t[b] and not p[a] and p[b]
            wanted['overlooked'][a, b] += t[a] and t[b] and not p[a] and not p[b]
            wanted['mistaken'][a, b] += t[a] and not p[a] and p[b] and not t[b]
    for name, expected in wanted.items():
        assert np.array_equal(getattr(tables, name), expected), name
        assert expected.any(), name
    # What is predicted together is right, has one too many, or two.
    right = tables.predicted - tables.added - tables.added.T - tables.invented
    assert np.array_equal(right, tables.present - tables.dropped - tables.dropped.T - tables.overlooked)


def test_losses_are_those_of_scikit_learn_where_something_is_known():
    scores, _, targets = drawn(seed=2)
    targets[0] = -1
    losses, labels = errors.picture_losses(scores, targets), errors.label_losses(scores, targets)
    assert np.isnan(losses[0]) and not np.isnan(losses[1:]).any()
    assert np.array_equal(np.isnan(labels), targets < 0)
    for row in range(1, len(scores)):
        known = targets[row] >= 0
        wanted = metrics.log_loss(targets[row, known], scores[row, known], labels=[0, 1])
        assert losses[row] == pytest.approx(wanted)
    # What was thought impossible is as bad as it gets, not infinite.
    assert errors.picture_losses([[1.0, 0.0]], [[0, 1]])[0] == pytest.approx(-np.log(errors.SMALLEST))


def test_with_one_label_each():
    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(4), size=50)
    truth, answers = rng.integers(4, size=50), scores.argmax(axis=1)
    one_hot = np.eye(4, dtype=int)[truth]
    matrix = errors.confusion_matrix(truth, answers, 5)
    assert np.array_equal(matrix, metrics.confusion_matrix(truth, answers, labels=range(5)))
    loss = errors.picture_losses(scores, one_hot, exclusive=True)
    assert loss.mean() == pytest.approx(metrics.log_loss(truth, scores))
    # The one confusion is the pair of the class that was missed and the one that was named.
    pairs = errors.pair_tables(np.eye(4, dtype=bool)[answers], one_hot).mistaken
    assert np.array_equal(pairs, matrix[:4, :4] * (1 - np.eye(4, dtype=int)))
    suspects = errors.contradicted_classes(scores, truth)
    means = [scores[truth == c, c].mean() for c in range(4)]
    for row in range(50):
        sure = [c for c in range(4) if scores[row, c] >= means[c]]
        best = max(sure, key=lambda c: scores[row, c], default=truth[row])
        assert suspects[row] == (-1 if best == truth[row] else best)
    assert (suspects >= 0).any() and (suspects < 0).any()


def test_doubt_is_entropy():
    assert errors.doubts([[0.5, 0.5, 1.0], [0.0, 1.0, 0.0], [0.25, 0, 0]]) == pytest.approx([2, 0, 0.8112781])
    assert errors.doubts([[0.25] * 4, [1, 0, 0, 0]], exclusive=True) == pytest.approx([2, 0])


def test_contradicted_labels_by_the_definition():
    scores, _, targets = drawn(seed=4)
    targets[:, 3], targets[:, 4] = 1, -1
    found = errors.contradicted_labels(scores, targets)
    for c in range(3):
        of = {value: scores[targets[:, c] == value, c] for value in (0, 1)}
        for row in range(len(scores)):
            p, given = scores[row, c], targets[row, c]
            answers = dict(zip((0, 1), (1 - p >= (1 - of[0]).mean(), p >= of[1].mean()), strict=True))
            sure = [answer for answer, says in answers.items() if says]
            best = max(sure, key=lambda answer: (1 - p, p)[answer], default=given)
            assert found[row, c] == (given >= 0 and best != given)
    assert found[:, :3].any(axis=0).all() and not found[:, 3:].any()


def test_flipped_labels_are_found_again():
    """Of labels turned round on purpose, under a model that is right: those above its mean, and no others."""
    rng = np.random.default_rng(5)
    true = rng.random((400, 6)) < 0.3
    scores = np.where(true, rng.uniform(0.7, 1, true.shape), rng.uniform(0, 0.3, true.shape))
    flipped = rng.random(true.shape) < 0.02
    found = errors.contradicted_labels(scores, (true ^ flipped).astype(int))
    assert flipped.sum() > 20
    assert not (found & ~flipped).any() and (found & flipped).sum() > 0.4 * flipped.sum()


def test_largest():
    assert errors.largest([1, np.nan, 3, 3, 2]).tolist() == [2, 3, 4, 0]
    assert errors.largest([1, np.nan, 3, 3, 2], [True, True, False, True, True], most=2).tolist() == [3, 4]
    assert errors.largest([np.nan]).tolist() == []


@pytest.mark.parametrize(
    ('call', 'says'),
    [
        (lambda: errors.picture_losses([[1.5]], [[1]]), r'lie in \[0, 1\].*got 1.5'),
        (lambda: errors.label_losses([[np.nan]], [[1]]), 'NaN'),
        (lambda: errors.class_tables([[1.0]], [[1]]), 'must be bool'),
        (lambda: errors.class_tables([[True]], [[0.5]]), '1 .present., 0 .absent. or -1'),
        (lambda: errors.pair_tables([[True]], [[1, 0]]), 'must both be'),
    ],
)
def test_what_is_no_probability_or_decision(call, says):
    with pytest.raises(UserError, match=says):
        call()

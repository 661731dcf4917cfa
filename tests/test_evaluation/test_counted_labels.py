"""What a known label says of others by counting: against tables solved by hand, other libraries, and exact worlds."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq

from mmlattn.evaluation.functional.known_labels import draw_known, given_known, odds_ratios, without_known
from mmlattn.utils.errors import UserError


def test_ratios_are_those_of_cross_tables():
    sets = np.random.default_rng(0).random((60, 4)) < [0.2, 0.5, 0.7, 0.4]
    for smoothing in (0.5, 2.0):
        found = odds_ratios(sets, smoothing)
        for a, b in np.argwhere(~np.eye(4, dtype=bool)):
            table = pd.crosstab(sets[:, a], sets[:, b]).to_numpy() + smoothing
            expected = table[0, 0] * table[1, 1] / (table[0, 1] * table[1, 0])
            assert found[a, b] == pytest.approx(expected)


@pytest.mark.parametrize('psi', [1e-4, 0.3, 1.0, 1 + 1e-9, 5.0, 1e5])
def test_the_table_has_its_margins_and_its_ratio(psi):
    """The share of both, found by bisection."""
    scores = np.random.default_rng(1).uniform(0.02, 0.98, (20, 2))
    found = given_known(scores, np.ones(20, int), np.full((2, 2), psi))
    assert (found[:, 1] == 1).all()
    for (p_c, p_k), share in zip(scores, found[:, 0], strict=True):

        def misfit(both, p_c=p_c, p_k=p_k):
            return both * (1 - p_c - p_k + both) - psi * (p_c - both) * (p_k - both)

        both = brentq(misfit, max(0, p_c + p_k - 1), min(p_c, p_k), xtol=1e-15)
        assert share == pytest.approx(both / p_k, rel=1e-6, abs=1e-9)


def test_what_is_known_of_an_exact_world_is_exact():
    """Pictures that show nothing, and a model that knows how frequent labels are: the conditional frequencies."""
    rng = np.random.default_rng(2)
    first = rng.random(4000) < 0.4
    sets = np.stack([first, rng.random(4000) < np.where(first, 0.7, 0.1), rng.random(4000) < 0.5], axis=1)
    scores = np.tile(sets.mean(axis=0), (3, 1))
    found = given_known(scores, np.array([0, 1, -1]), odds_ratios(sets, smoothing=0))
    np.testing.assert_allclose(found[0], sets[sets[:, 0]].mean(axis=0))
    np.testing.assert_allclose(found[1], sets[sets[:, 1]].mean(axis=0))
    np.testing.assert_array_equal(found[2], scores[2])


def test_a_label_that_was_certain_tells_nothing_new():
    found = given_known(np.array([[0.3, 1.0], [0.0, 1.0], [1.0, 1.0]]), np.ones(3, int), np.full((2, 2), 9.0))
    np.testing.assert_allclose(found[:, 0], [0.3, 0, 1])
    certain = given_known(np.array([[0.3, 0.0]]), np.ones(1, int), np.full((2, 2), 9.0))
    assert 0.3 < certain[0, 0] < 1


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(UserError, match=r'must lie in \[0, 1\]'):
        given_known(np.array([[1.2, 0.1]]), np.zeros(1, int), np.ones((2, 2)))


def test_labels_are_drawn_alike_and_batch_by_batch_the_same():
    targets = np.tile(np.array([[1, 0, 1, -1], [0, 0, 0, -1], [0, 1, 0, 0]], np.int8), (2000, 1))
    known = draw_known(targets, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    parts = np.concatenate([draw_known(part, rng) for part in np.split(targets, [5, 7, 4000])])
    np.testing.assert_array_equal(known, parts)
    assert set(known[::3]) == {0, 2} and abs((known[::3] == 0).mean() - 0.5) < 0.04
    assert (known[1::3] == -1).all() and (known[2::3] == 1).all()
    rest = without_known(targets, known)
    np.testing.assert_array_equal((rest != targets).sum(axis=1), np.tile([1, 0, 1], 2000))
    assert (rest[rest != targets] == -1).all() and targets.min() == -1

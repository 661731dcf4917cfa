"""Numbers on pictures drawn again: the same as computing them anew on each draw."""

import numpy as np
import pytest

from mmlattn.evaluation.functional.bootstrap import bootstrap_mean_ap, draw_pictures
from mmlattn.evaluation.functional.multi_label import average_precision, mean_defined


@pytest.mark.parametrize('levels', [5, 10**6], ids=['many ties', 'no ties'])
def test_mean_ap_of_a_draw_is_that_of_its_pictures_listed_as_often_as_drawn(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, (30, 4)).astype(np.float32)
    targets = rng.choice([-1, 0, 1], (30, 4), p=[0.1, 0.7, 0.2])
    targets[:, 3] = np.where(np.arange(30) == 7, 1, 0)  # a class that many draws have no positive of
    weights = draw_pictures(30, 40, seed=1)
    assert (weights.sum(axis=1) == 30).all() and (weights[:, 7] == 0).any()
    expected = []
    for draw in weights:
        rows = np.repeat(np.arange(30), draw.astype(int))
        expected.append(mean_defined(average_precision(scores[rows], targets[rows])))
    np.testing.assert_allclose(bootstrap_mean_ap(scores, targets, weights), expected, rtol=1e-12)


def test_a_draw_without_any_positive_has_no_number():
    targets = np.zeros((3, 2), int)
    targets[0, 0] = 1
    weights = np.array([[1, 1, 1], [0, 2, 1]], np.float32)
    found = bootstrap_mean_ap(np.eye(3, 2, dtype=np.float32), targets, weights)
    assert found[0] == 1 and np.isnan(found[1])

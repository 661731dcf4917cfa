"""Deletion and insertion as functions: closed forms, brute force, scikit-learn's area, hand-made evidence."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc
from torchvision.transforms.functional import gaussian_blur

from mmlattn.evaluation.functional.deletion import (
    area_under,
    cell_order,
    covered_cells,
    exchanged,
    nearness,
    relevance,
    sampled_means,
    stand_in,
    taken_cells,
    taken_counts,
)
from mmlattn.utils.errors import UserError


def pixel_sum(pictures):
    """A model that scores the sum of what it sees, and twice that."""
    total = pictures.sum(dim=(1, 2, 3))
    return torch.stack((total, 2 * total), dim=1)


def deletion_curve(score, picture, other, order, steps):
    """Scores (S + 1, C) of all states."""
    grid = round(len(order) ** 0.5)
    taken = torch.from_numpy(taken_cells(order, steps)).unflatten(1, (grid, grid))
    return score(exchanged(picture, other, taken)).numpy()


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_sum_of_pixels_has_a_known_curve(grid, steps, seed):
    """Each cell taken takes its own sum away; with a map that tells the sums, deletion falls as fast as it can."""
    steps, rng = min(steps, grid**2), np.random.default_rng(seed)
    picture = torch.from_numpy(rng.random((3, grid * 2, grid * 3)))
    sums = picture.sum(dim=0).unflatten(0, (grid, 2)).unflatten(2, (grid, 3)).sum(dim=(1, 3)).numpy()
    order = cell_order(sums, rng)
    curve = deletion_curve(pixel_sum, picture, torch.zeros_like(picture), order, steps)
    counts = taken_counts(grid**2, steps)
    lost = np.concatenate([[0], np.sort(sums.ravel())[::-1].cumsum()])[counts]
    np.testing.assert_allclose(curve, (sums.sum() - lost)[:, None] * [1, 2], atol=1e-9)
    shares = counts / grid**2
    assert area_under(curve[:, 0], shares) == pytest.approx(auc(shares, curve[:, 0]))
    other = deletion_curve(pixel_sum, picture, torch.zeros_like(picture), rng.permutation(grid**2), steps)
    assert area_under(curve[:, 0], shares) <= area_under(other[:, 0], shares) + 1e-9
    # Insertion is deletion from the other side.
    back = deletion_curve(pixel_sum, torch.zeros_like(picture), picture, order, steps)
    np.testing.assert_allclose(back + curve, np.broadcast_to(curve[0], curve.shape), atol=1e-9)


def test_exchanged_pictures_are_those_of_loops():
    rng = np.random.default_rng(0)
    picture, other = torch.rand(2, 3, 11, 7)  # no multiple of the grid
    taken = torch.from_numpy(rng.random((5, 4, 4)) < 0.5)
    found = exchanged(picture, other, taken)
    for state in range(5):
        for y in range(11):
            for x in range(7):
                source = other if taken[state, y * 4 // 11, x * 4 // 7] else picture
                assert torch.equal(found[state, :, y, x], source[:, y, x])
    with pytest.raises(UserError, match='8 cells in each direction is finer than the picture, 11 x 7'):
        exchanged(picture, other, torch.zeros(1, 8, 8, dtype=torch.bool))


def test_cells_are_taken_in_order_and_all_in_the_end():
    order = np.array([3, 0, 2, 1])
    expected = [[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]]  # 1.33 and 2.67 of 4 cells
    np.testing.assert_array_equal(taken_cells(order, 3), np.array(expected, bool))
    for steps in (0, 1.5, 5):
        with pytest.raises(UserError, match='steps'):
            taken_cells(order, steps)


def test_equals_are_drawn_and_others_are_not():
    values = np.array([[0, 2], [2, 2]])
    orders = {tuple(cell_order(values, np.random.default_rng(seed))) for seed in range(60)}
    assert {order[-1] for order in orders} == {0} and len(orders) == 6
    assert cell_order(nearness(3), np.random.default_rng(0))[0] == 4
    assert set(cell_order(nearness(3), np.random.default_rng(0))[-4:]) == {0, 2, 6, 8}  # corners last


@pytest.mark.parametrize('fill', ['zero', 'mean', 'blur'])
def test_stand_ins(fill):
    picture = torch.rand(3, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = stand_in(picture, fill, sigma=2)
    if fill == 'zero':
        expected = np.zeros((3, 40, 50))
    elif fill == 'mean':
        expected = np.broadcast_to(picture.numpy().mean(axis=(1, 2))[:, None, None], (3, 40, 50))
    else:
        expected = gaussian_blur(picture, 13, 2.0)  # 3 sigma, reflected at the border
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert stand_in(picture[:, :3, :3], fill, sigma=9).shape == (3, 3, 3)  # the blur has no room


def test_maps_become_cells():
    maps = np.zeros((2, 2, 2))
    maps[1] = [[0.7, 0.1], [0.1, 0.1]]
    assert relevance(dict(attention_maps=maps), 0, 4) is None
    found = relevance(dict(attention_maps=maps), 1, 4)
    assert found[0, 0] == pytest.approx(0.7) and found[3, 3] == pytest.approx(0.1)
    # Bilinear: the centre of cell 1 of 4 lies a quarter of the way from the first centre of 2 to the second.
    assert found[1, 1] == pytest.approx(0.7 * 0.75**2 + 0.1 * (1 - 0.75**2))
    fine = np.random.default_rng(0).random((1, 8, 8))
    finer = relevance(dict(attention_maps=fine), 0, 2)
    assert abs(finer - fine[0].reshape(2, 4, 2, 4).mean(axis=(1, 3))).max() < 0.12  # averaged, not picked


def test_regions_become_cells():
    """The best region first, then the next; outside of all nothing."""
    regions = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 0.5], [0.5, 0.5, 0.5, 1.0]])
    scores = np.array([[0.2, 0.9], [0.8, 0.9], [0.9, 0.1]])
    found = relevance(dict(regions=regions, region_scores=scores), 0, 4)
    # The third has the highest score and no area, so 2 is the most.
    np.testing.assert_allclose(found, [[1, 2, 2, 2], [1, 2, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0]])
    tied = relevance(dict(regions=regions, region_scores=scores), 1, 4)
    np.testing.assert_allclose(tied[0], [3, 3, 2, 2])  # of equals the first is the best
    nested = relevance(dict(regions=regions, region_scores=scores), 0, 4, zooms_in=True)
    np.testing.assert_allclose(nested[0], [1, 2, 1, 1])
    outside = dict(regions=regions[2:], region_scores=scores[2:])
    assert relevance(outside, 0, 4) is None
    # A region counts by its share of a cell.
    np.testing.assert_allclose(covered_cells(np.array([[0.1, 0.0, 0.5, 1.0]]), 2)[0], [[0.8, 0], [0.8, 0]])


def test_sampled_means_are_those_of_loops():
    rng = np.random.default_rng(0)
    values, pictures = rng.random((7, 2)), [4, 4, 9, 1, 1, 1, 30]
    found = sampled_means(values, pictures, rounds=4000)
    places = [np.flatnonzero(np.array(pictures) == name) for name in (1, 4, 9, 30)]
    by_hand = [
        values[np.concatenate([places[k] for k in rng.integers(0, 4, 4)])].mean(axis=0) for _ in range(4000)
    ]
    np.testing.assert_allclose(found.mean(axis=0), values.mean(axis=0), atol=0.02)
    for quantile in (2.5, 50, 97.5):
        expected = np.percentile(by_hand, quantile, axis=0)
        np.testing.assert_allclose(np.percentile(found, quantile, axis=0), expected, atol=0.015)

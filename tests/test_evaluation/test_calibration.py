"""Calibration against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as their_log_loss

from mmlattn.evaluation.functional.calibration import (
    Calibration,
    class_calibration_errors,
    expected_calibration_error,
    fit_common_platt,
    fit_platt,
    fit_softmax_temperature,
    fit_temperature,
    log_loss,
    picture_losses,
    reliability,
)


@pytest.fixture(scope='module')
def drawn():
    """Logits of 3,000 pictures, and labels that their line scale z + shift has drawn; a tenth is unknown."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 2, (3000, 3))
    scale, shift = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
    y = (rng.random(z.shape) < expit(scale * z + shift)).astype(int)
    y[rng.random(z.shape) < 0.1] = -1
    return z, y, scale, shift


def test_lines_of_each_class_and_of_all(drawn):
    z, y, scale, shift = drawn
    found = fit_platt(z, y, 0)
    np.testing.assert_allclose(found.scale, scale, rtol=0.1)
    np.testing.assert_allclose(found.shift, shift, atol=0.25)
    columns = [(z[y[:, c] >= 0, c], y[y[:, c] >= 0, c]) for c in range(3)] + [(z[y >= 0], y[y >= 0])]
    common = fit_common_platt(z, y)
    ours = [*zip(found.scale, found.shift, strict=True), (common.scale[0], common.shift[0])]
    for (x, t), (a, b) in zip(columns, ours, strict=True):
        theirs = LogisticRegression(C=1e9, tol=1e-8).fit(x[:, None], t)
        assert (a, b) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=2e-3)


def test_pulled_lines_lie_between(drawn):
    z, y, *_ = drawn
    own, common = fit_platt(z, y, 0), fit_common_platt(z, y)
    for strength, share in ((1e9, 1.0), (1e-6, 0.0)):
        pulled = fit_platt(z, y, strength)
        np.testing.assert_allclose(pulled.scale, share * common.scale + (1 - share) * own.scale, atol=1e-3)
    few = fit_platt(z[:20], y[:20], 10)
    assert np.abs(few.scale - few.scale.mean()).max() < np.abs(own.scale - own.scale.mean()).max()
    nothing = fit_platt(z, np.where(np.arange(3) == 1, -1, y), 10)
    assert nothing.scale[1] == pytest.approx(fit_common_platt(z[:, ::2], y[:, ::2]).scale[0], abs=1e-3)


@pytest.mark.parametrize('temperature', [0.5, 1.0, 3.0])
def test_a_temperature_is_found(temperature):
    rng = np.random.default_rng(1)
    z = rng.normal(0, 2, (5000, 2))
    y = (rng.random(z.shape) < expit(z)).astype(int)
    found = fit_temperature(temperature * z, y)
    assert 1 / found.scale == pytest.approx([temperature] * 2, rel=0.06)
    assert not found.shift.any()
    scores = log_softmax(rng.normal(0, 2, (5000, 4)), axis=1)
    labels = (np.exp(scores).cumsum(axis=1) > rng.random((5000, 1))).argmax(axis=1)
    assert 1 / fit_softmax_temperature(temperature * scores, labels) == pytest.approx(temperature, rel=0.06)


def test_extreme_scores_and_classes_of_one_kind_stay_finite():
    z = np.array([[-87.0, 16.6], [16.6, 16.6], [-87.0, 16.6]])
    for y in (np.array([[1, 1], [0, 1], [0, 1]]), np.zeros((3, 2), int), np.full((3, 2), -1)):
        for found in (fit_platt(z, y, 1), fit_common_platt(z, y), fit_temperature(z, y)):
            assert all(np.isfinite(values).all() for values in found) and (found.scale > 0).all()


def test_losses_and_errors(drawn):
    z, y, *_ = drawn
    known = y >= 0
    assert log_loss(z, y) == pytest.approx(their_log_loss(y[known], expit(z[known])))
    losses, counts = picture_losses(z, y)
    assert losses.sum() / counts.sum() == pytest.approx(log_loss(z, y))
    assert counts.tolist() == known.sum(axis=1).tolist()
    assert np.isnan(log_loss(z, np.full(z.shape, -1)))
    # Two bins: 0.2 where none is present, 0.9 where two of three are.
    p, t = np.array([[0.2], [0.2], [0.9], [0.9], [0.9], [0.4]]), np.array([[0], [0], [1], [1], [0], [-1]])
    found = reliability(p, t, 2)
    assert found.count.tolist() == [2, 3]
    assert found.confidence == pytest.approx([0.2, 0.9]) and found.frequency == pytest.approx([0, 2 / 3])
    error = (2 * 0.2 + 3 * (0.9 - 2 / 3)) / 5
    assert expected_calibration_error(p, t, 2) == pytest.approx(error)
    assert class_calibration_errors(p, t, 2) == pytest.approx([error])
    assert np.isnan(reliability(p[:2], t[:2], 2).frequency[1])
    assert reliability(np.array([[0.0, 1.0]]), np.array([[0, 1]]), 10).count.tolist() == [1, *[0] * 8, 1]


def test_the_order_within_a_class_stays(drawn):
    z, y, *_ = drawn
    for found in (fit_platt(z, 1 - y, 0), fit_temperature(z, np.where(y < 0, y, 1 - y))):
        assert (np.diff(found(np.sort(z, axis=0)), axis=0) >= 0).all()


def test_unknown_labels_change_nothing(drawn):
    z, y, *_ = drawn
    other = np.where(y < 0, 99.0, z)
    for fit in (fit_temperature, fit_common_platt, lambda a, b: fit_platt(a, b, 3)):
        for mine, theirs in zip(fit(z, y), fit(other, y), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert log_loss(z, y) == log_loss(other, y)
    assert Calibration(np.ones(3), np.zeros(3))(z) is not z

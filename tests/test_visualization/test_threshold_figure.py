"""The picture of a choice of thresholds says what was chosen."""

import numpy as np
import pytest

from mmlattn.evaluation.functional.calibration import reliability
from mmlattn.visualization.threshold_figure import Candidate, draw_thresholds

FOUND = {'scores': reliability(np.array([[0.2], [0.7]]), np.array([[0], [1]]))}
TAKEN = [Candidate('own', 0.5, 0.0, True)]


@pytest.mark.parametrize('threshold', [0.02, 0.5])
def test_dots_lie_on_their_curves(threshold):
    rng = np.random.default_rng(0)
    scores, targets = rng.uniform(0.3, 0.9, (40, 3)), rng.integers(0, 2, (40, 3))
    thresholds = np.full(3, threshold)  # the first is below every score
    figure = draw_thresholds('t', scores, targets, thresholds, ['cat', 'dog', 'bird'], [0, 1], FOUND, TAKEN)
    axes = figure.axes[0]
    assert '2 of 3 classes' in axes.get_title('left')
    curves, dots = axes.lines[::2], axes.lines[1::2]
    assert len(curves) == len(dots) == 2
    for c, (curve, dot) in enumerate(zip(curves, dots, strict=True)):
        x, y = curve.get_data()
        assert (x.max(), x.min()) == (1, 0)
        predicted = scores[:, c] >= threshold
        hits = (predicted & (targets[:, c] == 1)).sum()
        expected = 2 * hits / (predicted.sum() + targets[:, c].sum())
        assert y[np.flatnonzero(x >= threshold)[-1]] == pytest.approx(expected)
        assert dot.get_ydata()[0] == pytest.approx(expected)

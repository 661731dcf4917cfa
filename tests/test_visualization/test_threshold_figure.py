"""The picture of a choice of thresholds says what was chosen."""

import numpy as np
import pytest

from mmlattn.evaluation.functional.calibration import reliability
from mmlattn.utils.errors import UserError
from mmlattn.visualization.threshold_figure import Candidate, draw_reliability, draw_thresholds

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


@pytest.mark.filterwarnings('ignore:no installed font')
def test_both_pictures_are_drawn_in_fonts_that_have_the_letters():
    scores, targets = np.array([[0.2], [0.7]]), np.array([[0], [1]])
    draws = [
        lambda **k: draw_thresholds('\uf8ff.pth', scores, targets, np.ones(1), ['a'], [0], FOUND, TAKEN, **k),
        lambda **k: draw_reliability('\uf8ff.pth', FOUND, **k),
    ]
    for draw in draws:
        assert draw().get_suptitle() == '?.pth'
        with pytest.raises(UserError, match="there is no font 'Nothing'"):
            draw(font='Nothing')

"""Heads beside each other: every seed is where its value says, in the order of the table."""

import numpy as np

from mmlattn.visualization.comparison_figure import Bar, draw_comparison


def test_dots_are_the_seeds_and_their_means_over_the_cost():
    bars = [
        Bar('linear', np.array([60.0, 62.0]), 10.0),
        Bar('csra', np.array([64.0, 65.0]), 20.0),
        Bar('дом', np.array([50.0]), 400.0),
    ]
    figure = draw_comparison(bars, 'a title')
    seeds, cost = figure.axes
    assert [label.get_text() for label in seeds.get_yticklabels()] == ['linear', 'csra', 'дом']
    dots = [line.get_xydata() for line in seeds.lines if line.get_marker() == 'o']
    for place, (bar, found) in enumerate(zip(bars, dots, strict=True)):
        np.testing.assert_allclose(found, [(value, place) for value in bar.mean_ap])
    means = [line.get_xydata()[0] for line in cost.lines if line.get_marker() == 'o']
    np.testing.assert_allclose(means, [(bar.milliseconds, bar.mean_ap.mean()) for bar in bars])
    assert [text.get_text() for text in cost.texts] == ['linear', 'csra', 'дом']
    low, high = seeds.get_ylim()
    assert low > high, 'the first head stands on top'

"""Drawings of class frequencies and co-occurrence: what they show, and that names are legible."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmlattn.visualization.label_figures import MOST, draw_co_occurrence, draw_frequencies


def overlapping(boxes):
    return [
        (a, b)
        for n, a in enumerate(boxes)
        for b in boxes[n + 1 :]
        if a.x0 < b.x1 - 0.5 and b.x0 < a.x1 - 0.5 and a.y0 < b.y1 - 0.5 and b.y0 < a.y1 - 0.5
    ]


def boxes_of(figure, labels):
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    return [label.get_window_extent(renderer) for label in labels if label.get_text()]


@pytest.mark.parametrize('classes', [3, 80, 1000])
def test_every_name_is_legible(classes):
    rng = np.random.default_rng(0)
    names = [f'class number {c}' for c in range(classes)]
    shares = {'train': rng.random(classes) ** 4, 'val': np.where(rng.random(classes) < 0.3, 0, 0.2)}
    figure = draw_frequencies(names, shares)
    shown = figure.axes[0].get_yticklabels()
    assert len(shown) == min(classes, MOST)
    assert [label.get_text() for label in shown] == [names[c] for c in np.argsort(-shares['train'])[:MOST]]
    if classes > MOST:
        return
    assert not overlapping(boxes_of(figure, shown))
    labels = rng.random((50, classes)) < 0.2
    figure = draw_co_occurrence(names, labels.T.astype(int) @ labels.astype(int), 'train')
    axes = figure.axes[0]
    assert not overlapping(boxes_of(figure, axes.get_xticklabels()))
    assert not overlapping(boxes_of(figure, axes.get_yticklabels()))


def test_shares_are_of_the_row():
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    figure = draw_co_occurrence(['a', 'b', 'c'], labels.T @ labels, 'train')
    drawn = figure.axes[0].images[0].get_array()
    assert drawn[0, 1] == 50 and drawn[1, 0] == 100 and drawn[2].filled(0).tolist() == [0, 0, 0]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ['a (4)', 'b (2)', 'c (0)']


def test_what_is_in_none_is_hollow_at_the_edge_and_what_nobody_knows_is_not_drawn():
    figure = draw_frequencies(['a', 'b', 'c', 'd'], {'train': np.array([0.5, 0, np.nan, 0.01])})
    solid, hollow = figure.axes[0].lines
    assert solid.get_xydata().tolist() == [[50, 0], [1, 1]] and hollow.get_markerfacecolor() == 'none'
    assert hollow.get_xydata().tolist() == [[0.5, 2]]

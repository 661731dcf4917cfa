"""Crops around true boxes: of the picture's shape, inside it, as large as asked, with all of the boxes in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmlattn.datasets import CropAroundBoxes
from mmlattn.utils.errors import UserError


def located(height, width):
    """A picture whose pixels say where they are."""
    return np.stack(np.mgrid[:height, :width], axis=2)


def crop(height, width, boxes, **settings):
    sample = dict(img=located(height, width), ori_shape=(height, width), gt_boxes=np.array(boxes, np.float32))
    return CropAroundBoxes(**settings)(sample)


def test_a_small_box_in_the_middle():
    done = crop(80, 200, [(0.45, 0.4, 0.55, 0.5)], enlarge=2, least=0.1)
    assert done['img'].shape == (16, 40, 2) and done['img_shape'] == (16, 40)
    assert done['ori_shape'] == (80, 200) and 'gt_boxes' not in done
    np.testing.assert_array_equal(done['img'][0, 0], (28, 80))


def test_none_is_smaller_than_the_least_nor_leaves_the_picture():
    done = crop(90, 90, [(0.0, 0.95, 0.02, 1.0)], least=1 / 3)
    assert done['img_shape'] == (30, 30)
    np.testing.assert_array_equal(done['img'][0, 0], (60, 0))


corners = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    x=st.lists(corners, min_size=1, max_size=3), y=corners, enlarge=st.floats(1, 3), least=st.floats(0.01, 1)
)
def test_boxes_are_held_by_a_part_of_the_pictures_shape(x, y, enlarge, least):
    boxes = [(left, y[0], right, y[1]) for left, right in x]
    done = crop(120, 75, boxes, enlarge=enlarge, least=least)
    (top, left), (bottom, right) = done['img'][0, 0], done['img'][-1, -1] + 1
    low, high = np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]
    assert left <= low[0] * 75 + 1e-3 and top <= low[1] * 120 + 1e-3
    assert right >= high[0] * 75 - 1e-3 and bottom >= high[1] * 120 - 1e-3
    side = np.clip(enlarge * (high - low).max(), least, 1)
    assert side * 75 - 1e-3 <= right - left <= side * 75 + 2
    assert side * 120 - 1e-3 <= bottom - top <= side * 120 + 2


def test_what_it_can_not_do_is_said():
    with pytest.raises(UserError, match=r'a\.jpg has no gt_boxes to crop around'):
        CropAroundBoxes()(dict(img=located(9, 9), img_path='a.jpg'))
    with pytest.raises(UserError, match='enlarge'):
        CropAroundBoxes(enlarge=0.5)
    with pytest.raises(UserError, match='least'):
        CropAroundBoxes(least=1.5)

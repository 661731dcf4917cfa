"""Crops of the feature map: where they lie, what is in them, and the way back."""

import pytest
import torch
from torchvision.transforms.functional import five_crop, hflip

from mmlattn.models.views.feature_crops import (
    boxes_from_windows,
    cut_windows,
    feature_windows,
    maps_from_windows,
    scale_windows,
)


@pytest.mark.parametrize(
    ('input_size', 'map_size', 'origins', 'size'),
    [
        ((512, 512), (32, 32), [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)], (28, 28)),
        ((640, 640), (40, 40), [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)], (36, 36)),
        ((512, 512), (16, 16), [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)], (14, 14)),
        ((512, 320), (64, 20), [(0, 0), (0, 4), (8, 0), (8, 4), (4, 2)], (56, 16)),
    ],
)
def test_windows_of_the_paper_and_of_maps_that_are_not_square(input_size, map_size, origins, size):
    windows = feature_windows(input_size, map_size)
    assert [tuple(w) for w in windows] == [(*origin, *size, False) for origin in origins]
    mirrored = feature_windows(input_size, map_size, crops='ten')[5:]
    assert mirrored == tuple(w._replace(flipped=True) for w in windows)


def test_the_centre_of_an_odd_margin_is_rounded_down():
    assert feature_windows((512, 512), (16, 16), margin=96)[4][:2] == (1, 1)


@pytest.mark.parametrize(
    ('input_size', 'map_size', 'margin', 'said'),
    [
        ((500, 512), (32, 32), 64, r'input \(500, 512\), feature map \(32, 32\), margin 64: resize to'),
        ((8, 8), (32, 32), 64, 'resize to'),
        ((448, 448), (32, 32), 64, 'multiple of 14 from 28 to 434 as margin'),
        ((512, 512), (8, 8), 64, 'multiple of 64 from 128 to 448'),
        ((512, 64), (32, 4), 64, 'multiple of 16 from 32 to 48'),
        (
            (64, 64),
            (2, 2),
            64,
            r'too small for crops with any margin.*a cell is 32 pixels, so resize to 96 or more',
        ),
    ],
)
def test_margins_that_do_not_fit_say_what_would(input_size, map_size, margin, said):
    with pytest.raises(ValueError, match=said):
        feature_windows(input_size, map_size, margin)


@pytest.mark.parametrize(('cells', 'centre'), [(40, 4), (20, 2), (10, 1)])
def test_windows_are_the_same_part_of_the_picture_on_every_map(cells, centre):
    coarse = feature_windows((320, 320), (10, 10), 96, 'ten')
    windows = scale_windows(coarse, (10, 10), (cells, cells))
    assert (
        windows[4]
        == windows[9]._replace(flipped=False)
        == (centre, centre, 7 * cells // 10, 7 * cells // 10, False)
    )
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(10, 4)
    expected = boxes_from_windows(whole, coarse, (10, 10))
    torch.testing.assert_close(boxes_from_windows(whole, windows, (cells, cells)), expected)


def test_maps_whose_cells_do_not_fit_into_each_other_are_refused():
    windows = feature_windows((480, 480), (20, 20), 48)
    with pytest.raises(ValueError, match=r'got maps of \(30, 30\) and \(20, 20\): resize to'):
        scale_windows(windows, (20, 20), (30, 30))


@pytest.fixture
def batch():
    return torch.rand(3, 2, 10, 8, generator=torch.Generator().manual_seed(0))


def test_crops_are_torchvisions(batch):
    windows = feature_windows((80, 64), (10, 8), margin=32, crops='ten')
    crops = cut_windows(batch, windows).unflatten(0, (10, 3))
    expected = five_crop(batch, (6, 4))
    for own, other in zip(crops, [*expected, *map(hflip, expected)], strict=True):
        assert torch.equal(own, other)


def test_maps_return_to_the_cells_they_were_cut_from(batch):
    windows = feature_windows((80, 64), (10, 8), margin=32, crops='ten')
    crops = cut_windows(batch, windows).unflatten(0, (10, 3))
    pasted = maps_from_windows(crops, windows, (10, 8))
    assert pasted.shape == (10, *batch.shape)
    torch.testing.assert_close(pasted.sum((-2, -1)), crops.sum((-2, -1)))
    inside = pasted != 0
    assert (inside.flatten(1).sum(1) == 3 * 2 * 6 * 4).all()
    assert torch.equal(pasted[inside], batch.expand_as(pasted)[inside])


def test_boxes_return_to_the_pixels_they_were_found_at(batch):
    """A box of whole cells, found by its content in a crop, encloses the same content in the whole map."""
    windows = feature_windows((80, 64), (10, 8), margin=32, crops='ten')
    crops = cut_windows(batch, windows).unflatten(0, (10, 3))
    found = torch.tensor([1, 2, 3, 5.0])  # x1, y1, x2, y2, in cells of the crop
    boxes = (found / torch.tensor([4, 6, 4, 6])).expand(10, 3, 1, 4)
    placed = boxes_from_windows(boxes, windows, (10, 8)) * torch.tensor([8, 10, 8, 10])
    for crop, window, box in zip(crops, windows, placed[:, 0, 0], strict=True):
        x1, y1, x2, y2 = box.round().int().tolist()
        torch.testing.assert_close(box, box.round())
        content = batch[..., y1:y2, x1:x2]
        assert torch.equal(crop[..., 2:5, 1:3], content.flip(-1) if window.flipped else content)


def test_boxes_by_hand():
    windows = feature_windows((512, 512), (32, 32), crops='ten')
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(10, 4)
    placed = boxes_from_windows(whole, windows, (32, 32))
    expected = [[0, 0, 28, 28], [4, 0, 32, 28], [0, 4, 28, 32], [4, 4, 32, 32], [2, 2, 30, 30]]
    torch.testing.assert_close(placed * 32, torch.tensor(expected * 2, dtype=torch.float32))
    left = boxes_from_windows(torch.tensor([[0.0, 0.0, 0.25, 1.0]]), windows[9:], (32, 32))
    torch.testing.assert_close(left * 32, torch.tensor([[23.0, 2, 30, 30]]))  # the right quarter, mirrored

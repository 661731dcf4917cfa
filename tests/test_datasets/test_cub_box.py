"""CUB's boxes against the pictures themselves, its labels against mmpretrain, and how bad files are refused."""

import numpy as np
import pytest
import torch
from fine_grained_fixtures import bright_box, write_cub
from mmpretrain.datasets import CUB
from PIL import Image
from torch.utils.data import DataLoader

from mmlattn.datasets import CUBBox
from mmlattn.datasets.unreadable_pictures import guard_pictures
from mmlattn.utils.errors import UserError


@pytest.fixture(scope='module')
def cub_root(tmp_path_factory):
    return write_cub(tmp_path_factory.mktemp('cub'), num_classes=3, per_class=5)


@pytest.mark.parametrize(('split', 'count'), [('train', 9), ('test', 6)])
def test_labels_are_mmpretrains_and_boxes_the_pictures(cub_root, split, count):
    ours, theirs = CUBBox(str(cub_root), split), CUB(str(cub_root), split)
    assert len(ours) == len(theirs) == count and ours.CLASSES == theirs.CLASSES
    for item, other in zip(ours, theirs, strict=True):
        assert item.items() >= other.items()
        np.testing.assert_allclose(item['gt_boxes'], [bright_box(item['img_path'])], atol=1e-6)
        assert item['gt_boxes'].dtype == np.float32 and item['gt_box_labels'].dtype == np.int64
        assert item['gt_box_labels'].tolist() == [other['gt_label']]
        assert (item['width'], item['height']) == Image.open(item['img_path']).size
    assert f'Split: \t{split}' in repr(ours)


def test_workers_get_the_same_boxes(cub_root):
    data = CUBBox(str(cub_root), 'test', test_mode=True)
    loaded = DataLoader(data, batch_size=None, num_workers=2, collate_fn=lambda item: item['gt_boxes'])
    assert torch.equal(
        torch.stack([torch.as_tensor(boxes) for boxes in loaded]),
        torch.stack([torch.as_tensor(item['gt_boxes']) for item in data]),
    )


def put(name, number, text):
    """Put a text in place of a line, counted from 1; a number beyond the last adds it, None removes the line."""

    def change(root):
        lines = (root / name).read_text().splitlines()
        lines[number - 1 : number] = [] if text is None else [text]
        (root / name).write_text('\n'.join(lines) + '\n')

    return change


FILES, CLASSES, SPLIT, BOXES = (
    'images.txt', 'image_class_labels.txt', 'train_test_split.txt', 'bounding_boxes.txt'
)  # fmt: skip
BAD = {
    'no file': (lambda root: (root / BOXES).unlink(), r'bounding_boxes\.txt: no such file: set data_root'),
    'no text': (lambda root: (root / FILES).write_bytes(b'\xff\xfe1'), r'images\.txt: not text in UTF-8'),
    'cut line': (put(FILES, 3, '3'), r"images\.txt: line 3: expected image id, file, got '3'"),
    'twice': (put(SPLIT, 4, '3 1'), r'split\.txt: line 4: id 3 is already in line 3: remove'),
    'too few': (put(CLASSES, 2, None), r'images\.txt: line 2: id 2 is not in .*class_labels\.txt: take both'),
    'too many': (put(BOXES, 99, '99 1 1 5 5'), r'boxes\.txt: line 16: id 99 is not in .*images\.txt: take both'),
    'class 0': (put(CLASSES, 2, '2 0'), r"labels\.txt: line 2: expected a class number, 1 to 200, got '0'"),
    'class 201': (put(CLASSES, 2, '2 201'), r"line 2: expected a class number, 1 to 200, got '201': mend"),
    'class': (put(CLASSES, 2, '2 1.5'), r"line 2: expected a class number, 1 to 200, got '1\.5'"),
    'split': (put(SPLIT, 1, '1 2'), r"split\.txt: line 1: expected 1 for training or 0 for test, got '2'"),
    'empty': (
        lambda root: (root / SPLIT).write_text(''.join(f'{n} 1\n' for n in range(1, 16))),
        r"images\.txt: none of its 15 images is in split 'test'",
    ),
    'no area': (put(BOXES, 5, '5 1 2 0.0 4'), r"boxes\.txt: line 5: expected x, .* got '1 2 0\.0 4': mend"),
    'no number': (put(BOXES, 5, '5 1 2 3 nan'), r"line 5: expected x, y, width and height, .* got '1 2 3 nan'"),
    'more numbers': (put(BOXES, 5, '5 1 2 3 4 5'), r"line 5: expected x, y, width and height, .*'1 2 3 4 5'"),
    'no picture': (
        lambda root: [path.unlink() for path in root.glob('images/001*/*_0004_*')],
        r'images\.txt: 1 of 6 images are missing, first .*images/001\.Black_footed_Albatross/',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', BAD)
def test_bad_files_are_named(name, tmp_path):
    change, words = BAD[name]
    root = write_cub(tmp_path, num_classes=3, per_class=5)
    change(root)
    with pytest.raises(UserError, match=words) as error:
        CUBBox(str(root), 'test')
    assert '\n' not in str(error.value) and str(root) in str(error.value)


def test_boxes_are_cut_off_at_the_picture_and_must_meet_it(tmp_path):
    root = write_cub(tmp_path)
    put(BOXES, 1, '1 -5.5 8 1000 1000')(root)
    put(BOXES, 2, '2 500.0 8 10 10')(root)
    data = CUBBox(str(root), 'train')
    first = data.get_data_info(0)
    np.testing.assert_allclose(first['gt_boxes'], [(0, 8 / first['height'], 1, 1)], rtol=1e-6)
    with pytest.raises(UserError, match=r'but its box runs from \[500\.0, 8\.0\] to .*same download'):
        data[1]


def test_a_picture_that_can_not_be_opened_is_the_loaders_to_refuse_or_skip(tmp_path):
    root = write_cub(tmp_path)
    spoilt = next(root.glob('images/002*/*_0000_*'))
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs', algorithm_keys=('gt_boxes',))]
    data = [CUBBox(str(root), 'train', pipeline=steps) for _ in range(2)]
    index = next(i for i in range(len(data[0])) if data[0].get_data_info(i)['img_path'] == str(spoilt))
    spoilt.write_bytes(b'none')
    guard_pictures(data[0], 'raise', training=True)
    with pytest.raises(UserError, match='can not be read as a picture: its content is no picture'):
        data[0][index]
    [guard] = guard_pictures(data[1], 'skip', training=True)
    assert data[1][index]['data_samples'].gt_boxes.shape == (1, 4)
    assert guard.paths() == [str(spoilt)]


def test_other_splits_are_refused(cub_root):
    with pytest.raises(UserError, match="split must be one of 'train', 'test', got 'val'"):
        CUBBox(str(cub_root), 'val')

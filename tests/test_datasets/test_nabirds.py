"""NABirds' numbering, boxes against the pictures themselves, and how bad files are refused."""

import numpy as np
import pytest
from fine_grained_fixtures import NABIRDS_CLASSES, bright_box, write_nabirds

from mmlattn.datasets import NABirds
from mmlattn.utils.errors import UserError


@pytest.fixture(scope='module')
def birds_root(tmp_path_factory):
    return write_nabirds(tmp_path_factory.mktemp('nabirds'), per_class=3)


@pytest.mark.parametrize(('split', 'count'), [('train', 8), ('test', 4)])
def test_labels_names_and_boxes(birds_root, split, count):
    data = NABirds(str(birds_root), split, with_boxes=True)
    ids = [295, 296, 817, 1010]  # 0 and 5 have no pictures
    assert data.metainfo['classes'] == tuple(NABIRDS_CLASSES[class_id] for class_id in ids)
    assert len(data) == count
    for item in data:
        folder = int(item['img_path'].split('/')[-2])
        assert item['gt_label'] == ids.index(folder)
        assert item['gt_box_labels'].tolist() == [item['gt_label']]
        np.testing.assert_allclose(item['gt_boxes'], [bright_box(item['img_path'])], atol=1e-6)
    plain = NABirds(str(birds_root), split)
    assert [plain[i].keys() for i in range(count)] == [{'img_path', 'gt_label', 'sample_idx'}] * count
    assert 'Boxes: \tFalse' in repr(plain) and f'Split: \t{split}' in repr(plain)


def test_a_class_of_the_other_split_keeps_its_label(tmp_path):
    root = write_nabirds(tmp_path, per_class=1)  # training only
    lines = (root / 'train_test_split.txt').read_text().split('\n')
    classes = dict(line.split() for line in (root / 'image_class_labels.txt').read_text().splitlines())
    lines = [line[:-1] + '0' if classes.get(line[:-2]) == '817' else line for line in lines]
    (root / 'train_test_split.txt').write_text('\n'.join(lines))
    assert sorted(item['gt_label'] for item in NABirds(str(root), 'train')) == [0, 1, 3]
    assert [item['gt_label'] for item in NABirds(str(root), 'test')] == [2]


def test_dashes_in_ids_do_not_count(birds_root, tmp_path):
    expected = [item['gt_boxes'] for item in NABirds(str(birds_root), with_boxes=True)]
    root = write_nabirds(tmp_path, per_class=3)
    (root / 'bounding_boxes.txt').write_text((root / 'bounding_boxes.txt').read_text().replace('-', ''))
    np.testing.assert_array_equal(
        [item['gt_boxes'] for item in NABirds(str(root), with_boxes=True)], expected
    )


def edit(name, old, new):
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


BAD = {
    'no classes': (
        lambda root: (root / 'classes.txt').unlink(),
        r'classes\.txt: no such file: set data_root',
    ),
    'number': (edit('classes.txt', '295 ', 'x '), r"classes\.txt: line 3: .* whole number, got 'x': mend"),
    'no name': (
        edit('classes.txt', '817 Red-tailed Hawk', '817'),
        r'line 5: expected class number, name, got',
    ),
    'unknown': (
        edit('image_class_labels.txt', ' 817', ' 818'),
        r"image_class_labels\.txt: line \d+: expected a class number, one of .*classes\.txt, got '818': mend",
    ),
    'no boxes': (lambda root: (root / 'bounding_boxes.txt').unlink(), r'bounding_boxes\.txt: no such file'),
    'no picture': (
        lambda root: [path.unlink() for path in root.glob('images/0817/*')],
        r'images\.txt: 2 of 8 images are missing, first .*images/0817/',
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_files_are_named(name, tmp_path):
    change, words = BAD[name]
    root = write_nabirds(tmp_path, per_class=3)
    change(root)
    with pytest.raises(UserError, match=words) as error:
        NABirds(str(root), with_boxes=True)
    assert '\n' not in str(error.value) and str(root) in str(error.value)


def test_other_arguments_are_refused(birds_root):
    with pytest.raises(UserError, match="split must be one of 'train', 'test', got 'all'"):
        NABirds(str(birds_root), 'all')
    with pytest.raises(UserError, match=r'classes\.txt: names: its classes .* not reordered'):
        NABirds(str(birds_root), classes=['a', 'b', 'c', 'd'])

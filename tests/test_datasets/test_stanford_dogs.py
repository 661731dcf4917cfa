"""Stanford Dogs' lists against scipy's reader, boxes against the pictures, and how bad files are refused."""

import numpy as np
import pytest
import scipy.io
from fine_grained_fixtures import bright_box, write_dog_list, write_dogs
from PIL import Image

from mmlattn.datasets import StanfordDogs
from mmlattn.utils.errors import UserError


@pytest.fixture(scope='module')
def dogs_root(tmp_path_factory):
    return write_dogs(tmp_path_factory.mktemp('dogs'), num_classes=5, per_class=4)


@pytest.mark.parametrize('split', ['train', 'test'])
def test_list_and_names(dogs_root, split):
    data = StanfordDogs(str(dogs_root), split)
    content = scipy.io.loadmat(dogs_root / f'{split}_list.mat', simplify_cells=True)
    assert [item['img_path'] for item in data] == [
        str(dogs_root / 'Images' / f) for f in content['file_list']
    ]
    assert [item['gt_label'] + 1 for item in data] == content['labels'].tolist()
    assert data.metainfo['classes'] == (
        'Chihuahua',
        'Japanese_spaniel',
        'Maltese_dog',
        'Pekinese',
        'Shih-Tzu',
    )
    assert data[0].keys() == {'img_path', 'gt_label', 'sample_idx'}
    assert f'Split: \t{split}' in repr(data) and 'Boxes: \tFalse' in repr(data)


def test_boxes_are_around_the_dogs(dogs_root):
    counts = []
    for item in StanfordDogs(str(dogs_root), with_boxes=True):
        boxes = item['gt_boxes']
        around = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        np.testing.assert_allclose(around, bright_box(item['img_path']), atol=1e-6)
        assert (item['width'], item['height']) == Image.open(item['img_path']).size
        assert item['gt_box_labels'].tolist() == [item['gt_label']] * len(boxes)
        assert boxes.dtype == np.float32 and item['gt_box_labels'].dtype == np.int64
        counts.append(len(boxes))
    assert counts == [1, 2] * 5


def test_boxes_are_fractions_of_the_size_in_the_annotation(tmp_path):
    root = write_dogs(tmp_path)
    (root / 'Annotation/n02085620-Chihuahua/n02085620_0').write_text(
        '<annotation><size><width>200</width><height>100</height></size><object><bndbox><xmin>-10</xmin>'
        '<ymin>25</ymin><xmax>50</xmax><ymax>100</ymax></bndbox></object></annotation>'
    )
    np.testing.assert_allclose(StanfordDogs(str(root), with_boxes=True)[0]['gt_boxes'], [(0, 0.25, 0.25, 1)])


STEMS = [
    'n02085620-Chihuahua/n02085620_0',
    'n02085620-Chihuahua/n02085620_1',
    'n02085782-Japanese_spaniel/n02085782_100',
]
LIST, XML = 'train_list.mat', f'Annotation/{STEMS[0]}'


def relist(stems, labels, **more):
    """A list in place of the one for training; ``more`` replaces variables of it."""

    def change(root):
        write_dog_list(root / LIST, stems, labels)
        if more:
            content = scipy.io.loadmat(root / LIST)
            kept = {key: value for key, value in content.items() if not key.startswith('__')}
            scipy.io.savemat(root / LIST, kept | more)

    return change


BAD = {
    'no list': (
        lambda root: (root / LIST).unlink(),
        r'train_list\.mat: no such file: unpack lists\.tar there',
    ),
    'no mat': (lambda root: (root / LIST).write_text('x' * 500), r'list\.mat: not a MATLAB file that can be'),
    'empty': (lambda root: (root / LIST).write_bytes(b''), r'list\.mat: not a MATLAB file that can be read'),
    'cut off': (
        lambda root: (root / LIST).write_bytes((root / LIST).read_bytes()[:900]),
        r'list\.mat: (not a MATLAB file|file_list, annotation_list and labels must be equally long)',
    ),
    'no labels': (
        lambda root: scipy.io.savemat(root / LIST, dict(a=1.0)),
        r'must be equally long, got 0, 0 and 0 entries: unpack',
    ),
    'too few': (relist(STEMS, [1, 1]), r'equally long, got 3, 3 and 2 entries'),
    'zero': (relist(STEMS, [0, 0, 1]), r'labels, entry 1: expected a whole number from 1, got 0'),
    'half': (relist(STEMS, [1, 1, 1.5]), r'labels, entry 3: expected a whole number from 1, got 1\.5'),
    'no name': (
        relist(STEMS, [1, 1, 2], file_list=np.ones((3, 1))),
        r'file_list, entry 1: 1\.0 is out of place',
    ),
    'two folders': (
        relist(STEMS, [1, 1, 1]),
        r'entry 3: .*782_100\.jpg has the label 1 of n02085620-Chihuahua',
    ),
    'two labels': (
        relist(STEMS, [1, 2, 3]),
        r'entry 2: .*620_1\.jpg has label 2 but its folder has 1: unpack',
    ),
    'gap': (relist(STEMS, [1, 1, 3]), r'labels: there is no picture of class 2 of 3'),
    'no picture': (
        lambda root: (root / f'Images/{STEMS[1]}.jpg').unlink(),
        r'train_list\.mat: 1 of 6 images are missing, first .*n02085620_1\.jpg',
    ),
    'no xml': (lambda root: (root / XML).unlink(), r'n02085620_0: no such file: finish the download'),
    'broken xml': (lambda root: (root / XML).write_text('<annotation>'), r'n02085620_0: not valid xml'),
    'no dog': (
        lambda root: (root / XML).write_text(
            '<annotation><size><width>9</width><height>9</height></size></annotation>'
        ),
        r'n02085620_0: must have objects, each with a box inside .*with_boxes=False',
    ),
    'no corner': (
        lambda root: (root / XML).write_text((root / XML).read_text().replace('xmax', 'x')),
        r'n02085620_0: object 1: bndbox/xmax is missing: mend the file, or set with_boxes=False',
    ),
    'no area': (
        lambda root: (root / XML).write_text((root / XML).read_text().replace('<xmin>', '<xmin>99')),
        r'n02085620_0: object 1: .*min and max are swapped: mend the file',
    ),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_files_are_named(name, tmp_path):
    change, words = BAD[name]
    root = write_dogs(tmp_path)
    change(root)
    with pytest.raises(UserError, match=words) as error:
        StanfordDogs(str(root), with_boxes=True)
    assert '\n' not in str(error.value) and str(root) in str(error.value)


def test_other_arguments_are_refused(dogs_root):
    with pytest.raises(UserError, match="split must be one of 'train', 'test', got 'val'"):
        StanfordDogs(str(dogs_root), 'val')
    with pytest.raises(UserError, match=r'train_list\.mat: file_list: its classes .* not reordered'):
        StanfordDogs(str(dogs_root), classes=['a', 'b'])

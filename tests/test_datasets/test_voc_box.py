"""VOC's labels and boxes against torchvision and mmpretrain, and how bad files are refused."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from mmpretrain.datasets import VOC
from mmpretrain.datasets.categories import VOC2007_CATEGORIES
from PIL import Image
from torchvision.datasets import VOCDetection

from mmlattn.datasets import VOCBox
from mmlattn.datasets.checks.splits import read_split
from mmlattn.engine.label_counts import count_known_labels
from mmlattn.utils.errors import UserError

# (name, difficult, xmin, ymin, xmax, ymax) of each object; the last image holds a difficult one and nothing else.
IMAGES = {
    '000012': (
        (40, 30),
        [('dog', 0, 1, 1, 40, 30), ('aeroplane', 0, 11, 16, 20, 30), ('dog', 1, 2, 2, 3, 3)],
    ),
    '000005': ((50, 25), [('chair', 0, 10.5, 6, 30, 25), ('unicorn', 0, 1, 1, 2, 2), ('cat', 1, 5, 5, 5, 9)]),
    '000017': ((20, 10), [('sofa', 1, 1, 1, 20, 10)]),
}


def write_voc(folder):
    """The three images above in VOC's layout, with parts in an object as VOC's persons have them."""
    root = folder / 'VOCdevkit' / 'VOC2007'
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / name).mkdir(parents=True)
    for image_id, ((width, height), objects) in IMAGES.items():
        Image.new('RGB', (width, height)).save(root / 'JPEGImages' / f'{image_id}.jpg')
        part = '<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>'
        entries = [
            f'<object><name>{name}</name>{part}<difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>'
            f'<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
            for name, difficult, *box in objects
        ]
        (root / 'Annotations' / f'{image_id}.xml').write_text(
            f'<annotation><filename>{image_id}.jpg</filename><size><width>{width}</width><height>{height}</height>'
            f'<depth>3</depth></size>{"".join(entries)}</annotation>'
        )
    (root / 'ImageSets' / 'Main' / 'test.txt').write_text('\n'.join(IMAGES) + '\n')
    return root


@pytest.fixture(scope='module')
def voc_root(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp('voc'))


def load(root, **options):
    if 'classes' not in options:
        options.setdefault('metainfo', dict(classes=VOC2007_CATEGORIES))
    return VOCBox(str(root), split='test', test_mode=True, **options)


@pytest.mark.parametrize('difficult_boxes', [False, True])
def test_labels_and_boxes_are_torchvisions(voc_root, difficult_boxes):
    ours = load(voc_root, difficult_boxes=difficult_boxes)
    theirs = VOCDetection(str(voc_root.parents[1]), year='2007', image_set='test')
    assert len(ours) == len(theirs) == 3
    for item, (image, target) in zip(ours, theirs, strict=True):
        objects = [o for o in target['annotation']['object'] if o['name'] in ours.CLASSES]
        expected = [o for o in objects if difficult_boxes or o['difficult'] == '0']
        assert [ours.CLASSES[c] for c in item['gt_box_labels']] == [o['name'] for o in expected]
        for box, o in zip(item['gt_boxes'], expected, strict=True):
            pixels = box * np.tile(image.size, 2) + [1, 1, 0, 0]  # counted from 1, the last one included
            np.testing.assert_allclose(
                pixels, [float(o['bndbox'][k]) for k in ('xmin', 'ymin', 'xmax', 'ymax')]
            )
        assert (item['width'], item['height']) == image.size
        assert item['img_path'].endswith(f'JPEGImages/{item["img_id"]}.jpg')


def test_labels_are_mmpretrains_in_order(voc_root):
    theirs = VOC(str(voc_root), split='test', test_mode=True)
    for item, other in zip(load(voc_root), theirs, strict=True):
        for key in ('gt_label', 'gt_label_difficult'):
            assert item[key] == sorted(other[key])
        assert item['img_path'] == other['img_path']
    assert [item['gt_label'] for item in load(voc_root)] == [[0, 11], [8], []]


def test_boxes_by_hand(voc_root):
    first, second, third = load(voc_root)
    np.testing.assert_allclose(first['gt_boxes'], [(0, 0, 1, 1), (10 / 40, 15 / 30, 20 / 40, 1)])
    np.testing.assert_allclose(second['gt_boxes'], [(9.5 / 50, 5 / 25, 30 / 50, 1)])
    assert third['gt_boxes'].shape == (0, 4) and third['gt_boxes'].dtype == np.float32
    assert third['gt_box_labels'].dtype == np.int64


def test_filter_and_classes(voc_root):
    assert [item['img_id'] for item in load(voc_root, filter_empty=True)] == ['000012', '000005']
    few = load(voc_root, filter_empty=True, metainfo=dict(classes=('dog', 'cat')))
    assert [item['gt_label'] for item in few] == [[0]] and few[0]['gt_label_difficult'] == [0]
    with pytest.raises(
        UserError, match=r'no object is of the classes cow: all are called dog \(2\), aeroplane'
    ):
        load(voc_root, filter_empty=True, classes=['cow'])
    with pytest.raises(UserError, match=r'none of its 3 images is left with classes=\(.sofa.,\)'):
        load(voc_root, filter_empty=True, classes=['sofa'])  # difficult where it occurs
    with pytest.raises(ValueError, match='use filter_empty=True'):
        load(voc_root, filter_cfg=dict(a=1))
    assert 'Boxes of difficult objects' in repr(few)


def edit(path, text):
    """An xml whose first element at ``path`` holds ``text``, or is gone."""

    def change(root):
        file = root / 'Annotations' / '000012.xml'
        tree = ElementTree.parse(file)
        if text is None:
            parent, _, name = path.rpartition('/')
            node = tree.find(parent or '.')
            node.remove(node.find(name))
        else:
            tree.find(path).text = text
        tree.write(file)

    return change


def write(name, text):
    return lambda root: (root / name).write_text(text)


LIST, XML = 'ImageSets/Main/test.txt', 'Annotations/000012.xml'
BAD = {
    'no list': (lambda root: (root / LIST).unlink(), r'test\.txt: no such file: set data_root and split'),
    'list of a class': (write(LIST, '000012 -1\n'), r'test\.txt: line 1: .*id of one image, got .000012 -1'),
    'twice': (write(LIST, '000012\n000005\n000012\n'), r'line 3: 000012 is already in line 1'),
    'no xml': (lambda root: (root / XML).unlink(), r'000012\.xml: no such file'),
    'broken xml': (write(XML, '<annotation><object>'), r'000012\.xml: not valid xml'),
    'no picture': (
        lambda root: (root / 'JPEGImages/000012.jpg').unlink(),
        r'test\.txt: 1 of 3 images are missing, first .*000012\.jpg',
    ),
    'no size': (edit('size', None), r'000012\.xml: the image: size/width is missing'),
    'size': (edit('size/height', '0'), r'000012\.xml: size: .*above 0, got 40 and 0'),
    'name': (edit('object/name', None), r'000012\.xml: object 1: name is missing'),
    'no corner': (edit('object/bndbox/ymax', None), r'object 1 \(dog\): bndbox/ymax is missing'),
    'corner': (edit('object/bndbox/xmin', 'nan'), r"bndbox/xmin must be a number, got 'nan'"),
    'swapped': (edit('object/bndbox/xmin', '41'), r'runs from 41, 1 to 40, 30: min and max are swapped'),
    'difficult': (edit('object/difficult', 'yes'), r"object 1 \(dog\): difficult must be 0 or 1, got 'yes'"),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_files_are_named(name, tmp_path):
    change, words = BAD[name]
    root = write_voc(tmp_path)
    change(root)
    with pytest.raises(UserError, match=words) as error:
        load(root)
    assert '\n' not in str(error.value) and str(root) in str(error.value)


def test_an_object_that_says_nothing_is_not_difficult(tmp_path):
    root = write_voc(tmp_path)
    edit('object/difficult', None)(root)
    assert load(root)[0]['gt_label'] == [0, 11]


def test_a_test_set_without_annotations_has_pictures_and_ids(voc_root, tmp_path):
    """As that of VOC 2012; xml of other tasks, which its archive has for some pictures, is not looked at."""
    options = dict(data_root=str(voc_root), split='test', data_prefix='JPEGImages')
    found = VOCBox(**options, test_mode=True)
    assert list(found.CLASSES) == list(VOC2007_CATEGORIES)
    for item, image_id in zip(found, IMAGES, strict=True):
        assert {key: item[key] for key in item if key != 'sample_idx'} == dict(
            img_path=str(voc_root / 'JPEGImages' / f'{image_id}.jpg'), img_id=image_id
        )
    assert read_split('test', found) is None, 'the checks of data sets have nothing to look at'
    (tmp_path / 'ImageSets/Main').mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/test.txt').write_text('000012\n')
    with pytest.raises(UserError, match='1 of 1 images are missing'):
        VOCBox(**(options | dict(data_root=str(tmp_path))), test_mode=True)
    with pytest.raises(UserError, match='only val and test with test_mode=True are read without annotations'):
        VOCBox(**(options | dict(split='')), image_set_path='ImageSets/Main/test.txt')


def test_difficult_objects_are_negatives_or_unknown(voc_root):
    negative, unknown = load(voc_root), load(voc_root, difficult='unknown')
    for item, other in zip(negative, unknown, strict=True):
        assert 'gt_label_ignore' not in item
        assert other['gt_label_ignore'] == sorted(set(item['gt_label_difficult']) - set(item['gt_label']))
        assert all(np.array_equal(other[key], item[key]) for key in item)
    assert [item['gt_label_ignore'] for item in unknown] == [[], [7], [17]]
    # Weights by frequency count as the losses train.
    known = [count_known_labels(dataset, 20)[1] for dataset in (negative, unknown)]
    assert (known[0] == 3).all() and (known[0] - known[1]).nonzero()[:, 0].tolist() == [7, 17]
    with pytest.raises(UserError, match="difficult must be one of 'negative', 'unknown'"):
        load(voc_root, difficult='positive')

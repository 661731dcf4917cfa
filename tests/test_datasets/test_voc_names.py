"""Own data in VOC's layout: names that differ from the classes, and other pictures than .jpg."""

import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.datasets.categories import VOC2007_CATEGORIES
from PIL import Image

from mmlattn.datasets import VOCBox
from mmlattn.datasets.lookalikes import same_name, similar_name
from mmlattn.utils.errors import UserError


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def warnings(log):
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


def write(root, train, val=None, extension='.jpg'):
    """A picture and an xml for each list of names, one object of each; ``val`` is in the same folders."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, pictures in dict(train=train, val=val or []).items():
        ids = [f'{split}{number}' for number in range(len(pictures))]
        for image_id, names in zip(ids, pictures, strict=True):
            Image.new('RGB', (40, 20)).save(root / f'JPEGImages/{image_id}{extension}')
            objects = ''.join(
                f'<object><name>{name}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{10 * number}</xmax>'
                f'<ymax>20</ymax></bndbox></object>'
                for number, name in enumerate(names, start=1)
            )
            (root / f'Annotations/{image_id}.xml').write_text(
                f'<annotation><size><width>40</width><height>20</height></size>{objects}</annotation>'
            )
        (root / f'ImageSets/Main/{split}.txt').write_text(''.join(f'{image_id}\n' for image_id in ids))
    return str(root)


def labels(data):
    return [
        [data.CLASSES[label] for label in item['gt_label']]
        for item in map(data.get_data_info, range(len(data)))
    ]


@pytest.mark.parametrize('written', ['stop-sign', 'Stop_Sign', ' STOPSIGN', 'ﬆop  sign', 'stop%20sign'])
def test_names_that_look_alike_are_one(written):
    assert same_name(written, ['stop', 'stop sign', 'stop signs']) == 'stop sign'
    assert same_name(f'{written}s', ['stop', 'stop sign']) is None
    for name in (written, 'stop sing'):
        assert similar_name(name, ['stop', 'stop sign']) == 'stop sign'


def test_classes_come_from_the_xml_of_all_splits(tmp_path, log):
    root = write(tmp_path, [['vest'], ['person', 'vest']], [['helmet'], []])
    train, val = VOCBox(root, 'train'), VOCBox(root, 'val', test_mode=True)
    assert train.CLASSES == val.CLASSES == ('helmet', 'person', 'vest')
    assert labels(train) == [['vest'], ['person', 'vest']] and labels(val) == [['helmet'], []]
    np.testing.assert_allclose(train[1]['gt_boxes'], [(0, 0, 0.25, 1), (0, 0, 0.5, 1)])
    assert train[1]['gt_box_labels'].tolist() == [1, 2]
    said = warnings(log)
    assert f'the 3 names in {root}/Annotations are the classes: helmet, person, vest' in said[0]
    assert (
        said[1].endswith('train.txt: 1 of the 3 classes never occur as a label: helmet')
        and 'val.txt' in said[2]
    )


def test_classes_are_vocs_where_all_names_are(tmp_path, log):
    data = VOCBox(write(tmp_path, [['dog'], ['cat']]), 'train')
    assert data.CLASSES == VOC2007_CATEGORIES and labels(data) == [['dog'], ['cat']]
    assert '18 of the 20 classes never occur as a label: aeroplane, bicycle' in log.text
    assert '... (18 in all)' in log.text and 'names' not in log.text


def test_blanks_around_names_do_not_count(tmp_path):
    root = write(tmp_path, [[' vest\n', 'helmet '], ['vest']])
    for classes in (['helmet', 'vest'], ['helmet ', '\tvest']):
        data = VOCBox(root, 'train', classes=classes)
        assert data.CLASSES == ('helmet', 'vest') and labels(data) == [['helmet', 'vest'], ['vest']]


def test_names_left_out_and_classes_that_never_occur_are_listed(tmp_path, log):
    data = VOCBox(write(tmp_path, [['vest', 'mask'], ['mask', 'boot']]), 'train', classes=['crane', 'vest'])
    assert labels(data) == [['vest'], []]
    left_out, absent = warnings(log)
    assert left_out.endswith('objects of other names than the classes are left out: mask (2), boot (1)')
    assert left_out.count('3 objects') == 1
    assert absent.endswith('train.txt: 1 of the 2 classes never occur as a label: crane')


@pytest.mark.parametrize(
    ('names', 'classes', 'words'),
    [
        (
            ['Vest'],
            ['vest'],
            r"train0\.xml: object 1 \(Vest\): is called 'Vest', but the class 'vest': spell both",
        ),
        (['traffic light'], ['traffic_light'], "is called 'traffic light', but the class 'traffic_light'"),
        (['ＶＥＳＴ'], ['vest'], "but the class 'vest'"),
        (
            ['vest', 'helmet', 'helmet'],
            ['vest', 'helmat'],
            r'of class helmat, but 2 are called helmet, first /',
        ),
        (['vest', 'Vest'], None, r'object 1 \(vest\): others are called Vest: spell both alike'),
        (
            ['mask', 'boot'],
            ['vest'],
            r'the classes vest: all are called mask \(1\), boot \(1\): set metainfo',
        ),
        (
            [],
            ['vest'],
            r'train\.txt: none of its 1 images has a label of the classes vest, so there is nothing',
        ),
        (['   '], ['vest'], r'train0\.xml: object 1: name is missing'),
        (['vest'], ['vest', ' '], r'class 1 \(counted from 0\) has a blank name'),
        (['vest'], ['vest', 'vest '], 'classes named twice: vest'),
    ],
)
def test_labels_are_not_lost_by_spelling(tmp_path, names, classes, words):
    root = write(tmp_path, [names])
    with pytest.raises(UserError, match=words) as error:
        VOCBox(root, 'train', classes=classes)
    assert '\n' not in str(error.value) and root in str(error.value)


def test_a_test_set_may_lack_a_class_that_another_name_is_like(tmp_path, log):
    root = write(tmp_path, [], [['vest', 'carts'], []])
    data = VOCBox(root, 'val', test_mode=True, classes=['cart', 'vest'])
    assert labels(data) == [['vest'], []]
    assert 'does the class cart, which never occurs, mean carts?' in log.text


@pytest.mark.parametrize('key', ['CLASSES', 'Classes', 'class_names', 'names'])
def test_other_keys_for_the_classes_are_refused(tmp_path, key):
    with pytest.raises(
        UserError, match=f'metainfo has {key}, which is not read: write classes, in small letters'
    ):
        VOCBox(write(tmp_path, [['vest']]), 'train', metainfo={key: ['vest']})


def test_other_settings_are_refused(tmp_path):
    root = write(tmp_path, [['vest']])
    for options, words in (
        (dict(split='training'), 'split must be one of .* but get .training'),
        (dict(data_prefix='JPEGImages'), "ann_path='Annotations'"),
        (
            dict(classes=['a'], metainfo=dict(classes=['b'])),
            r"classes are \('a',\) but metainfo.classes \('b',\)",
        ),
        (dict(metainfo=['vest']), r'metainfo must be a dict such as dict\(classes=\[...\]\), got'),
        (dict(classes='none.txt'), "must be a list of names, got 'none.txt', and there is no such file"),
    ):
        with pytest.raises(UserError, match=words):
            VOCBox(root, **dict(dict(split='train'), **options))


@pytest.mark.parametrize('extension', ['.png', '.JPG', '.jpeg', '.bmp', '.tif'])
def test_other_picture_formats(tmp_path, extension):
    root = write(tmp_path, [['vest'], ['vest']], extension=extension)
    data = VOCBox(root, 'train', pipeline=[dict(type='LoadImageFromFile')])
    assert [item['img_path'] for item in data] == [f'{root}/JPEGImages/train{n}{extension}' for n in (0, 1)]
    assert data[1]['img'].shape == (20, 40, 3)


def test_which_of_two_pictures(tmp_path):
    root = write(tmp_path, [['vest']], extension='.png')
    Image.new('RGB', (40, 20)).save(tmp_path / 'JPEGImages/train0.bmp')
    with pytest.raises(
        UserError, match=r'train0: may be any of train0\.bmp, train0\.png in .*: leave only one'
    ):
        VOCBox(root, 'train')
    Image.new('RGB', (40, 20)).save(tmp_path / 'JPEGImages/train0.jpg')
    assert VOCBox(root, 'train')[0]['img_path'].endswith('train0.jpg')


def test_ids_in_folders_and_with_dots(tmp_path):
    root = write(tmp_path, [['vest']], extension='.png')
    for folder, ending in (('JPEGImages', '.png'), ('Annotations', '.xml')):
        (tmp_path / folder / 'a').mkdir()
        (tmp_path / folder / f'train0{ending}').rename(tmp_path / folder / f'a/v1.2{ending}')
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a/v1.2\n')
    data = VOCBox(root, 'train')
    assert data[0]['img_path'] == f'{root}/JPEGImages/a/v1.2.png' and data.CLASSES == ('vest',)

"""COCO and plain annotation files: what is read, and how bad files are refused."""

import gzip
import json
import os
from collections import defaultdict

import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset
from mmengine.registry import DATASETS, DefaultScope

from mmlattn.datasets import COCOMultiLabel, PlainMultiLabel

ANN = 'annotations/instances_train2017.json'


def load(root, **options):
    return COCOMultiLabel(ANN, data_root=str(root), data_prefix='train2017', **options)


@pytest.fixture(scope='module')
def drawn(make_coco, tmp_path_factory):
    """A drawn data set: its first image holds one crowd box and nothing else, the last one nothing."""
    return make_coco(tmp_path_factory.mktemp('drawn') / 'coco')


def test_labels_and_boxes_are_those_of_the_json(coco_root):
    content = json.loads((coco_root / ANN).read_text())
    names = {c['id']: c['name'] for c in sorted(content['categories'], key=lambda c: c['id'])}
    expected = defaultdict(list)
    for annotation in content['annotations']:
        expected[annotation['image_id']].append((names[annotation['category_id']], *annotation['bbox']))
    dataset = load(coco_root)
    assert dataset.metainfo['classes'] == tuple(names.values())
    assert len(dataset) == len(content['images'])
    for image, item in zip(content['images'], dataset, strict=True):
        assert os.path.samefile(item['img_path'], coco_root / 'train2017' / image['file_name'])
        boxes = item['gt_boxes'] * np.array([image['width'], image['height']] * 2)
        boxes[:, 2:] -= boxes[:, :2]
        found = [(dataset.CLASSES[c], *box) for c, box in zip(item['gt_box_labels'], boxes, strict=True)]
        assert [row[0] for row in found] == [row[0] for row in expected[image['id']]]
        for row, wanted in zip(found, expected[image['id']], strict=True):
            np.testing.assert_allclose(row[1:], wanted[1:], atol=0.02)  # COCO's boxes stick out a little
        assert {dataset.CLASSES[c] for c in item['gt_label']} == {row[0] for row in expected[image['id']]}


@pytest.mark.parametrize(
    ('crowd', 'label', 'ignore', 'boxes'), [('label', 1, 0, 1), ('ignore', 0, 1, 1), ('drop', 0, 0, 0)]
)
def test_crowd_and_empty_policies(drawn, crowd, label, ignore, boxes):
    dataset = load(drawn, crowd=crowd)
    only_crowd, bare = dataset[0], dataset[-1]
    counts = [len(only_crowd[key]) for key in ('gt_label', 'gt_label_ignore', 'gt_boxes')]
    assert counts == [label, ignore, boxes]
    assert bare['gt_label'] == [] and bare['gt_boxes'].shape == (0, 4)
    assert len(load(drawn, crowd=crowd, filter_empty=True)) == len(dataset) - (1 if label else 2)


def test_classes_select_and_order(drawn):
    full = load(drawn)
    names = (full.CLASSES[3], full.CLASSES[0])
    for options in (dict(metainfo=dict(classes=names)), dict(classes=names)):
        few = load(drawn, **options)
        assert names == few.CLASSES
        for item, whole in zip(few, full, strict=True):
            expected = [
                names.index(full.CLASSES[c]) for c in whole['gt_box_labels'] if full.CLASSES[c] in names
            ]
            assert item['gt_box_labels'].tolist() == expected and item['gt_label'] == sorted(set(expected))
    assert len(load(drawn, classes=names, filter_empty=True)) == sum(bool(item['gt_label']) for item in few)


def test_classes_are_in_the_order_of_their_ids_not_of_the_file(drawn, tmp_path):
    content = json.loads((drawn / ANN).read_text())
    content['categories'].reverse()
    path = tmp_path / 'reversed.json'
    path.write_text(json.dumps(content))
    full, other = load(drawn), COCOMultiLabel(str(path), data_root=str(drawn), data_prefix='train2017')
    assert other.CLASSES == full.CLASSES
    for item, whole in zip(other, full, strict=True):
        assert item['gt_label'] == whole['gt_label']


def test_2014_layout_and_folders_in_file_names(make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=5, split='train2014')
    path = root / 'annotations' / 'instances_train2014.json'
    content = json.loads(path.read_text())
    for image in content['images']:
        new = f'COCO_train2014_{image["file_name"]}'
        os.rename(root / 'train2014' / image['file_name'], root / 'train2014' / new)
        image['file_name'] = f'train2014/{new}'
    path.write_text(json.dumps(content))
    dataset = COCOMultiLabel(str(path), data_root=str(root))
    assert [os.path.exists(item['img_path']) for item in dataset] == [True] * 5


@pytest.mark.parametrize('serialize_data', [True, False])
def test_base_dataset_features_still_work(drawn, serialize_data):
    full = load(drawn, filter_empty=True)
    lazy = load(drawn, filter_empty=True, lazy_init=True, serialize_data=serialize_data, indices=5)
    assert not lazy._fully_initialized
    lazy.full_init()
    assert [item['img_path'] for item in lazy] == [full[i]['img_path'] for i in range(5)]
    assert [lazy.get_cat_ids(i) for i in range(5)] == [full[i]['gt_label'] for i in range(5)]
    assert len(ClassBalancedDataset(load(drawn), oversample_thr=0.5)) > len(load(drawn))
    assert 'Crowd' in repr(lazy)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet'])
def test_builds_by_name_under_both_scopes(drawn, scope):
    with DefaultScope.overwrite_default_scope(scope):
        config = dict(
            type='mmlattn.COCOMultiLabel', ann_file=ANN, data_root=str(drawn), data_prefix='train2017'
        )
        assert isinstance(DATASETS.build(config), COCOMultiLabel)


def change(section, index, **values):
    return lambda content: content[section][index].update(values)


BAD_COCO = {
    'unknown category': (change('annotations', 3, category_id=12), r'annotations\[3\].*category_id 12'),
    'float category': (change('annotations', 3, category_id=3.0), r'annotations\[3\].*whole number, got 3.0'),
    'unknown image': (
        change('annotations', 5, image_id=1),
        r'annotations\[5\].*image_id 1 is not among images',
    ),
    'annotation twice': (change('annotations', 1, id=100), r'annotations\[1\].*id 100 is there twice'),
    'bbox': (
        change('annotations', 2, bbox=[1, 2, 3]),
        r'annotations\[2\].*\[x, y, width, height\].*\[1, 2, 3\]',
    ),
    'xyxy': (change('annotations', 2, bbox=[9, 9, 3, -1]), r'annotations\[2\].*negative'),
    'no image_id': (lambda c: c['annotations'][2].pop('image_id'), r'annotations\[2\].*image_id is missing'),
    'image twice': (change('images', 1, id=9), r'images\[1\].*id 9 is there twice'),
    'file twice': (
        change('images', 1, file_name='000000000009.jpg'),
        r'images\[1\].*000000000009.jpg.*twice',
    ),
    'no size': (change('images', 4, width=0), r'images\[4\].*above 0, got 0'),
    'missing picture': (
        change('images', 4, file_name='x.jpg'),
        r'1 of 24 images are missing, first .*x\.jpg',
    ),
    'category id twice': (change('categories', 1, id=1), r'categories\[1\].*id 1 is there twice'),
    'category name': (change('categories', 1, name=5), r'categories\[1\].*name must be a string, got 5'),
    'category names': (
        change('categories', 1, name=['a']),
        r"categories\[1\].*must be a string, got \['a'\]",
    ),
    'annotation id': (
        change('annotations', 1, id=[1]),
        r'annotations\[1\].*whole number or a string, got \[1\]',
    ),
    'crowd as text': (
        change('annotations', 1, iscrowd='0'),
        r"annotations\[1\].*iscrowd must be .* got '0'",
    ),
    'crowd as float': (
        change('annotations', 1, iscrowd=1.0),
        r'annotations\[1\].*iscrowd must be .* got 1\.0',
    ),
    'huge box': (change('annotations', 2, bbox=[0, 0, 10**400, 1]), r'annotations\[2\].*bbox must be'),
    'null': (lambda c: c.update(annotations=None), 'annotations: must be a list, got None'),
    'file twice, spelt apart': (
        change('images', 1, file_name='./000000000009.jpg'),
        r'images\[1\].*000000000009.jpg.*twice',
    ),
    'no image': (
        lambda c: c.update(images=[], annotations=[]),
        r"none of its 0 images.*crowd='label'.*filter_empty=False",
    ),
    'category twice': (change('categories', 1, name='person'), r"categories\[1\].*'person' is there twice"),
    'no annotations': (
        lambda c: c.pop('annotations'),
        'expected an object with images, annotations, categories',
    ),
}


@pytest.mark.parametrize('case', BAD_COCO)
def test_bad_coco_file_is_refused_while_loading(case, drawn, tmp_path):
    content = json.loads((drawn / ANN).read_text())
    BAD_COCO[case][0](content)
    path = tmp_path / 'bad.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=BAD_COCO[case][1]) as error:
        COCOMultiLabel(str(path), data_prefix=str(drawn / 'train2017'))
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ('value', 'crowd'), [(0, False), (1, True), (False, False), (True, True), (None, False)]
)
def test_every_spelling_of_iscrowd(drawn, tmp_path, value, crowd):
    content = json.loads((drawn / ANN).read_text())
    change('annotations', 0, iscrowd=value)(content)
    path = tmp_path / 'crowd.json'
    path.write_text(json.dumps(content), encoding='utf-8-sig')  # a byte order mark does no harm
    item = COCOMultiLabel(str(path), data_prefix=str(drawn / 'train2017'), crowd='ignore')[0]
    assert (len(item['gt_label_ignore']), len(item['gt_label'])) == ((1, 0) if crowd else (0, 1))
    assert (item['width'], item['height']) == (content['images'][0]['width'], content['images'][0]['height'])


@pytest.mark.parametrize('cls', [COCOMultiLabel, PlainMultiLabel])
def test_broken_and_missing_json(cls, drawn, tmp_path):
    path = tmp_path / 'broken.json'
    path.write_text((drawn / ANN).read_text()[:500])
    with pytest.raises(ValueError, match=r'broken\.json: line 1, column .* not valid json'):
        cls(str(path))
    path.write_bytes(b'{"images": "caf\xe9"}')
    with pytest.raises(ValueError, match=r'broken\.json: not json in UTF-8 .*0xe9 in position 15'):
        cls(str(path))
    for content, words in {
        b' ': 'the file is empty',
        b'file,label\n': 'in another format',
        b'{}\n{}\n': 'must hold one object',
        gzip.compress(b'{}'): 'unpack it with gunzip',
    }.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            cls(str(path))
    with pytest.raises(ValueError, match=r'none\.json: no such file: set data_root'):
        cls(str(tmp_path / 'none.json'))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(classes=('person', 'unicorn')), 'no category is called unicorn'),
        (dict(classes=('person', 'person')), 'named twice: person'),
        (dict(metainfo=dict(classes='dog')), r"classes must be a list of names, got 'dog'"),
        (dict(metainfo=dict(classes=())), 'at least one'),
        (
            dict(classes=('toothbrush',), filter_empty=True, crowd='drop'),
            r"instances_train2017\.json: none of its 24 .*\('toothbrush',\), crowd='drop' and filter_empty=True",
        ),
        (dict(crowd='maybe'), "crowd must be one of .* got 'maybe'"),
        (dict(filter_cfg=dict(filter_empty_gt=True)), 'use filter_empty=True'),
    ],
)
def test_bad_options(drawn, options, words):
    with pytest.raises(ValueError, match=words):
        load(drawn, **options)


def write_plain(root, labels, **extra):
    """A plain json of three classes over the first pictures of a drawn data set."""
    pictures = sorted(path.name for path in (root / 'train2017').iterdir())
    items = [dict(img_path=name, gt_label=label) for name, label in zip(pictures, labels, strict=False)]
    items[-1] |= extra
    return json.dumps(dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=items))


def test_plain_file(drawn, tmp_path):
    path = tmp_path / 'plain.json'
    path.write_text(write_plain(drawn, [[2, 0], [], [1]], gt_label_ignore=[0], gt_label_difficult=[1, 2]))
    dataset = PlainMultiLabel(str(path), data_prefix=str(drawn / 'train2017'))
    assert dataset.CLASSES == ('a', 'b', 'c')
    assert [item['gt_label'] for item in dataset] == [[2, 0], [], [1]]
    assert dataset[2]['gt_label_ignore'] == [0] and os.path.exists(dataset[2]['img_path'])


@pytest.mark.parametrize(
    ('label', 'extra', 'words'),
    [
        ([1.0], {}, r'must be a list of whole numbers.*\[1\.0\]'),
        ([True], {}, 'must be a list of whole numbers'),
        (['a'], {}, 'must be a list of whole numbers'),
        (1, {}, 'must be a list of whole numbers'),
        ([0, 1, 1], {}, r'one-hot vector: write the indices of its ones, \[1, 2\]'),
        ([2, 2], {}, r'holds a label twice: \[2, 2\]'),
        ([3], {}, r'holds \[3\], outside 0 to 2'),
        ([-1], {}, r'holds \[-1\], outside 0 to 2'),
        ([1], dict(gt_label_ignore=[1]), r'\[1\] both in gt_label and in gt_label_ignore'),
        ([1], dict(gt_label_difficult=[3]), r'gt_label_difficult of .* holds \[3\], outside 0 to 2'),
        ([1], dict(gt_label_ignore=None), r'gt_label_ignore of .* must be a list'),
        ([1], dict(img_path='./000000000009.jpg'), r'already data_list\[0\]'),
        ([1], dict(img_path='none.png'), r'1 of 3 images are missing, first .*none\.png'),
    ],
)
def test_bad_plain_file_is_refused_while_loading(drawn, tmp_path, label, extra, words):
    path = tmp_path / 'plain.json'
    path.write_text(write_plain(drawn, [[0], [], label], **extra))
    with pytest.raises(ValueError, match=words) as error:
        PlainMultiLabel(str(path), data_prefix=str(drawn / 'train2017'))
    assert str(path) in str(error.value) and ('data_list[2]' in str(error.value) or 'img_path' in extra)


@pytest.mark.parametrize(
    ('change', 'own', 'words'),
    [
        ({}, ['a', 'b'], r"its classes are \('a', 'b', 'c'\) but metainfo.classes .*\('a', 'b'\)"),
        ({}, ['c', 'b', 'a'], 'not reordered'),
        ({}, 'abc', "must be a list of names, got 'abc'"),
        (dict(metainfo={}), None, 'metainfo: classes is missing'),
        (dict(metainfo=dict(classes='abc')), None, "must be a list of names, got 'abc'"),
        (dict(metainfo=None), ['a', 'b', 'c'], 'metainfo: must be an object, got None'),
        (dict(data_list=[]), None, 'data_list: is empty'),
    ],
)
def test_classes_of_a_plain_file(drawn, tmp_path, change, own, words):
    path = tmp_path / 'plain.json'
    path.write_text(json.dumps(json.loads(write_plain(drawn, [[0], [2]])) | change))
    with pytest.raises(ValueError, match=words) as error:
        PlainMultiLabel(
            str(path), data_prefix=str(drawn / 'train2017'), metainfo=dict(classes=own) if own else None
        )
    assert str(error.value).startswith(str(path))


def test_config_names_the_classes_where_the_plain_file_does_not(drawn, tmp_path):
    path = tmp_path / 'plain.json'
    path.write_text(json.dumps(json.loads(write_plain(drawn, [[0], [2]])) | dict(metainfo={})))
    for names in (('x', 'y', 'z'), ('x', 'y', 'z', 'never there')):
        dataset = PlainMultiLabel(
            str(path), data_prefix=str(drawn / 'train2017'), metainfo=dict(classes=names)
        )
        assert names == dataset.CLASSES

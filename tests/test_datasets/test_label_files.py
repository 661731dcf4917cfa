"""Label files: the same pictures in every format are the same samples, and every format becomes every other."""

import itertools
import json
import os
import re
import shutil
import struct
from functools import partial
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmlattn.datasets import COCOMultiLabel, PlainMultiLabel, VOCBox
from mmlattn.datasets import MultiLabelFile as Packed
from mmlattn.datasets.label_files import FORMATS, LabelRecord, LabelTable, read_label_file, write_label_file
from mmlattn.utils.errors import UserError

ENDINGS = dict(txt='.txt', jsonl='.jsonl', cvat='.xml', voc='', folders='')
BOXED = {'coco', 'voc', 'label-studio', 'cvat'}
TERNARY = [
    form for form in FORMATS if form not in {'csv-names', 'txt', 'folders', 'label-studio', 'cvat', 'voc'}
]


# Without mmengine's packing, which collects garbage each time.
MultiLabelFile = partial(Packed, serialize_data=False)


def named(folder, form):
    return folder / f'{form}{ENDINGS.get(form, ".csv" if form.startswith("csv") else ".json")}'


@pytest.fixture(scope='module')
def twenty(coco_root, tmp_path_factory):
    """Twenty pictures of COCO with their labels, written in every format by way of the data set of COCO."""
    folder = tmp_path_factory.mktemp('formats')
    pictures = coco_root / 'train2017'
    data = COCOMultiLabel(str(coco_root / 'annotations/instances_train2017.json'), data_prefix=str(pictures))
    content = json.loads((coco_root / 'annotations/instances_train2017.json').read_text())
    content['images'] = content['images'][:20]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    # Pictures without labels, and no segmentation: what this is about.
    content['annotations'] = [
        {key: value for key, value in a.items() if key != 'segmentation'} for a in content['annotations']
    ]
    (folder / 'first.json').write_text(json.dumps(content))
    table = read_label_file(folder / 'first.json')
    for form in FORMATS:
        write_label_file(table, named(folder, form), form, pictures=str(pictures))
    return folder, pictures, table, [data[number] for number in range(20)]


def load(path, form, pictures, classes, **options):
    """The items by name of picture; folders hold pictures of their own."""
    prefix = {} if form == 'folders' else dict(data_prefix=str(pictures))
    data = MultiLabelFile(str(path), classes=list(classes), test_mode=True, **prefix, **options)
    assert tuple(classes) == data.CLASSES
    return {PurePath(item['img_path']).name: item for item in data}


def check_same(items, form, expected):
    assert len(items) == len(expected) == 20
    for item in expected:
        found = items[PurePath(item['img_path']).name]
        assert Path(found['img_path']).read_bytes() == Path(item['img_path']).read_bytes()
        assert found['gt_label'] == item['gt_label'] and 'gt_label_ignore' not in found
        if form in BOXED:
            assert (found['width'], found['height']) == (item['width'], item['height'])
            np.testing.assert_array_equal(found['gt_boxes'], item['gt_boxes'])
            np.testing.assert_array_equal(found['gt_box_labels'], item['gt_box_labels'])
        else:
            assert 'gt_boxes' not in found


@pytest.mark.parametrize('form', FORMATS)
def test_every_format_gives_the_same_samples_and_becomes_every_other(twenty, form, tmp_path):
    folder, pictures, table, expected = twenty
    path = named(folder, form)
    check_same(load(path, form, pictures, table.classes), form, expected)
    read = read_label_file(path, classes=table.classes)
    assert read.format == form and read.closed
    source = path if form == 'folders' else pictures
    for other in FORMATS:
        if other in BOXED and form not in BOXED and other != 'coco':
            continue
        write_label_file(read, named(tmp_path, other), other, pictures=str(source))
        again = load(named(tmp_path, other), other, source, table.classes)
        if form == 'folders':
            assert [again[PurePath(i['img_path']).name]['gt_label'] for i in expected] == [
                i['gt_label'] for i in expected
            ]
        elif form in BOXED:
            check_same(again, other, expected)
        else:
            assert [again[PurePath(i['img_path']).name]['gt_label'] for i in expected] == [
                i['gt_label'] for i in expected
            ]


def test_the_data_sets_of_the_formats_read_what_is_written(twenty):
    folder, pictures, table, expected = twenty
    options = dict(data_prefix=str(pictures), test_mode=True, serialize_data=False)
    for data in (
        COCOMultiLabel(str(named(folder, 'coco')), **options),
        PlainMultiLabel(str(named(folder, 'json')), **options),
    ):
        assert [item['gt_label'] for item in data] == [item['gt_label'] for item in expected]
    voc = folder / 'voc'
    (voc / 'all.txt').write_text(''.join(f'{PurePath(item["img_path"]).stem}\n' for item in expected))
    data = VOCBox(
        str(voc),
        image_set_path='all.txt',
        classes=table.classes,
        data_prefix=dict(img_path=str(pictures), ann_path='Annotations'),
        test_mode=True,
        serialize_data=False,
    )
    for item, wanted in zip(data, expected, strict=True):
        assert item['gt_label'] == wanted['gt_label']
        np.testing.assert_array_equal(item['gt_boxes'], wanted['gt_boxes'])


def test_tables_are_those_of_pandas(twenty):
    folder, _, table, _ = twenty
    frame = pd.read_csv(named(folder, 'csv-onehot'), index_col='image')
    assert list(frame.columns) == list(table.classes)
    np.testing.assert_array_equal(frame.to_numpy(), table.matrix())
    rows = pd.read_csv(named(folder, 'csv-rows')).dropna()
    crossed = pd.crosstab(rows['image'], rows['label']).reindex(
        frame.index, columns=table.classes, fill_value=0
    )
    np.testing.assert_array_equal(crossed.fillna(0).to_numpy(), table.matrix())


@pytest.mark.parametrize(('form', 'closed'), itertools.product(TERNARY, (True, False)))
def test_unknown_labels_go_through(tmp_path, form, closed):
    labels = [dict(cat=1, dog=-1), dict(dog=1, cat=0), {}]
    records = [
        LabelRecord(
            f'{number}.jpg', said, split=('train', 'val', 'val')[number], group=f'g{number}', size=(4.0, 3.0)
        )
        for number, said in enumerate(labels)
    ]
    table = LabelTable(records, ('cat', 'dog', 'emu'), closed=closed)
    unsaid = 0 if closed else -1
    expected = [[1, -1, unsaid], [0, 1, unsaid], [unsaid] * 3]
    np.testing.assert_array_equal(table.matrix(), expected)
    path = named(tmp_path, form)
    write_label_file(table, path, form)
    unlisted = 'absent' if closed else 'unknown'
    read = read_label_file(path, classes=table.classes, unlisted=unlisted)
    np.testing.assert_array_equal(read.matrix(), expected)
    assert [(r.image, r.split, r.group) for r in read.records] == [
        (r.image, r.split, r.group) for r in records
    ]
    for number in range(3):
        Image.new('RGB', (4, 3)).save(tmp_path / f'{number}.jpg')
    (item,) = MultiLabelFile(str(path), split='train', classes=table.classes, unlisted=unlisted)
    assert item['gt_label'] == [0] and item['gt_label_ignore'] == ([1] if closed else [1, 2])
    assert len(MultiLabelFile(str(path), split='val', classes=table.classes, filter_empty=True)) == 1


@pytest.mark.parametrize('form', ['csv-names', 'txt', 'folders', 'label-studio', 'cvat'])
def test_labels_that_a_format_can_not_say_are_refused(tmp_path, form):
    table = LabelTable([LabelRecord('a.jpg', dict(cat=1, dog=-1), size=(4.0, 3.0))], ('cat', 'dog'))
    with pytest.raises(UserError, match=f'{form} can not say that a class is unknown.*write csv-onehot'):
        write_label_file(table, named(tmp_path, form), form, pictures=str(tmp_path))
    assert not named(tmp_path, form).exists()


def write(tmp_path, name, text, pictures=('a.jpg', 'b.jpg', 'c.jpg')):
    for picture in pictures:
        (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 6)).save(tmp_path / picture)
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


CLOSED = [('a.jpg', ['cat', 'dog']), ('b.jpg', []), ('c.jpg', ['dog'])]
# The same three pictures as people write them.
WAYS = {
    'one-hot with true and false': ('l.csv', 'file,cat,dog\na.jpg,TRUE,True\nb.jpg,false,0\nc.jpg,0.0,1.0\n'),
    'semicolons between columns': ('l.csv', 'image;labels\na.jpg;cat,dog\nb.jpg;\nc.jpg;dog\n'),
    'bars': ('l.csv', 'Image,Tags\na.jpg,cat|dog\nb.jpg,\nc.jpg,dog\n'),
    'blanks': ('l.csv', 'image,labels\na.jpg,cat dog\nb.jpg,\nc.jpg,dog\n', dict(classes=['cat', 'dog'])),
    'quoted commas': ('l.csv', 'image,labels\na.jpg,"cat, dog"\n"b.jpg",""\nc.jpg,dog\n'),
    'printed lists': ('l.csv', 'image,labels\na.jpg,"[\'cat\', \'dog\']"\nb.jpg,[]\nc.jpg,[\'dog\']\n'),
    'no header': ('l.csv', 'a.jpg,cat;dog\nb.jpg,\nc.jpg,dog\n'),
    'no header, given columns': ('l.csv', 'a.jpg,1,1\nb.jpg,0,0\nc.jpg,0,1\n', dict(classes=['cat', 'dog'])),
    'rows': ('l.csv', 'image,label\na.jpg,cat\na.jpg,dog\nb.jpg,\nc.jpg,dog\n'),
    'index of pandas': ('l.csv', ',image,labels\n0,a.jpg,cat;dog\n1,b.jpg,\n2,c.jpg,dog\n'),
    'other columns': ('l.csv', 'image,width,labels\na.jpg,8,cat;dog\nb.jpg,8,\nc.jpg,8,dog\n'),
    'tabs': ('l.tsv', 'image\tlabels\na.jpg\tcat,dog\nb.jpg\t\nc.jpg\tdog\n'),
    'mark and windows lines': ('l.csv', b'\xef\xbb\xbfimage,labels\r\na.jpg,cat;dog\r\n\r\nb.jpg,\nc.jpg,dog\n,\r\n'),
    'list': ('l.txt', 'a.jpg cat dog\nb.jpg\nc.jpg  dog\n'),
    'list with commas': ('l.txt', 'a.jpg,cat,dog\nb.jpg\nc.jpg,dog\n'),
    'list, commas after a blank': ('l.txt', 'a.jpg cat,dog\nb.jpg\nc.jpg dog\n'),
    'list of ones': ('l.txt', 'a.jpg 1 1\nb.jpg 0 0\nc.jpg 0 1\n', dict(classes=['cat', 'dog'])),
    'list of indices': ('l.txt', 'a.jpg 0 1\nb.jpg\nc.jpg 1\n', dict(classes=['cat', 'dog'])),
    'json lines': ('l.jsonl', '{"image":"a.jpg","labels":["cat","dog"]}\n{"file_name":"b.jpg","label":[]}\n\n'
                              '{"img_path":"c.jpg","gt_label":[1]}', dict(classes=['cat', 'dog'])),
    'json-min': ('l.json', json.dumps([
        dict(id=1, image='/data/upload/3/a.jpg', choice=dict(choices=['cat', 'dog']), annotator=1),
        dict(id=2, image='/data/local-files/?d=b.jpg', choice=dict(choices=[])),
        dict(id=3, image='c.jpg', choice='dog')])),
}  # fmt: skip


@pytest.mark.parametrize(('name', 'head'), [('a.csv', 'image,labels\n'), ('a.txt', '')])
def test_names_with_blanks_stay_whole_among_others(tmp_path, name, head):
    mark = ',' if head else ' '
    lines = [
        f'{p}.jpg{mark}{label}\n' for p, label in zip('abc', ('traffic light', 'dog', 'car'), strict=True)
    ]
    (tmp_path / name).write_text(head + ''.join(lines))
    table = read_label_file(tmp_path / name, classes=['traffic light', 'car'], other_classes='leave_out')
    assert table.matrix().tolist() == [[1, 0], [0, 0], [0, 1]]
    with pytest.raises(UserError, match="names the class 'dog'"):
        read_label_file(tmp_path / name, classes=['traffic light', 'car'])


@pytest.mark.parametrize('form', ['jsonl', 'json', 'coco', 'label-studio'])
def test_groups_may_be_numbers_and_blank_ones_are_none(tmp_path, form):
    table = LabelTable([LabelRecord(f'{n}.jpg', {'cat': 1}, group=f'g{n}') for n in range(4)], ('cat',))
    path = named(tmp_path, form)
    write_label_file(table, path, form, sizes=np.full((4, 2), 9))
    text = path.read_text()
    for n, value in enumerate(['7', '""', 'null', '"a b"']):
        text = text.replace(f'"g{n}"', value)
    path.write_text(text)
    assert [record.group for record in read_label_file(path).records] == ['7', None, None, 'a b']
    path.write_text(text.replace('7', '7.5', 1))
    with pytest.raises(UserError, match='group must be a text or a whole number'):
        read_label_file(path)


@pytest.mark.parametrize('name', ['group', 'Split', 'image'])
def test_classes_that_a_table_would_take_for_something_else(tmp_path, name):
    table = LabelTable([LabelRecord('a.jpg', {name: 1}), LabelRecord('b.jpg', {'cat': 1})], ('cat', name))
    with pytest.raises(UserError, match=f"a column '{name}' would not be read as that of a class"):
        write_label_file(table, tmp_path / 'a.csv', 'csv-onehot')
    write_label_file(table, tmp_path / 'a.csv', 'csv-names')
    assert read_label_file(tmp_path / 'a.csv').matrix().sum() == 2


@pytest.mark.parametrize('form', ['csv-names', 'csv-rows'])
@pytest.mark.parametrize(
    'sets',
    [[['a|b'], ['c']], [['x;y', 'z'], ['z']], [['a b'], ['a'], ['b']], [['a b'], ['c d'], ['c'], ['d']]],
)
def test_names_that_would_be_read_as_others_are_refused(tmp_path, form, sets):
    classes = tuple(sorted(set(itertools.chain(*sets))))
    table = LabelTable(
        [LabelRecord(f'{n}.jpg', dict.fromkeys(said, 1)) for n, said in enumerate(sets)], classes
    )
    with pytest.raises(
        UserError, match=r'would be read as other names of classes.*write csv-onehot or jsonl'
    ):
        write_label_file(table, tmp_path / 'a.csv', form)
    assert not (tmp_path / 'a.csv').exists()
    write_label_file(table, tmp_path / 'a.jsonl', 'jsonl')
    assert [record.present for record in read_label_file(tmp_path / 'a.jsonl').records] == sets


def test_blanks_around_a_path_do_not_count(tmp_path):
    (tmp_path / 'a.csv').write_text('image,labels\n a.jpg ,cat\nb.jpg , dog\n')
    assert list(read_label_file(tmp_path / 'a.csv').columns.images) == ['a.jpg', 'b.jpg']


@pytest.mark.parametrize('way', WAYS)
def test_what_people_write(tmp_path, way):
    name, text, *options = WAYS[way]
    if way == 'json lines':
        text = text.replace('"cat","dog"', '0,1')
    data = MultiLabelFile(write(tmp_path, name, text), **dict(*options))
    assert data.CLASSES == ('cat', 'dog')
    found = [(os.path.basename(i['img_path']), [data.CLASSES[c] for c in i['gt_label']]) for i in data]
    assert found == CLOSED and not any('gt_label_ignore' in item for item in data)


def test_cells_that_say_nothing_are_unknown(tmp_path):
    path = write(tmp_path, 'l.csv', 'image,cat,dog,split\na.jpg,1,,train\nb.jpg,-1,0,train\nc.jpg,1,1,val\n')
    for unlisted in (None, 'absent', 'unknown'):
        first, second = MultiLabelFile(path, split='train', unlisted=unlisted)
        assert (first['gt_label'], first['gt_label_ignore']) == ([0], [1])
        assert (second['gt_label'], second['gt_label_ignore']) == ([], [0])


def test_verified_rows_are_partial_labels(tmp_path):
    text = 'ImageID,LabelName,Confidence\na.jpg,cat,1\na.jpg,dog,0\nb.jpg,dog,1\nc.jpg,emu,0\n'
    path = write(tmp_path, 'l.csv', text)
    first, *_ = MultiLabelFile(path)
    assert (first['gt_label'], first['gt_label_ignore']) == ([0], [2])
    first, *_ = MultiLabelFile(path, unlisted='absent')
    assert first['gt_label'] == [0] and 'gt_label_ignore' not in first


def test_cvat_and_turned_rectangles(tmp_path):
    text = (
        '<annotations><meta><task><labels><label><name>cat</name></label><label><name>dog</name></label></labels></task>'
        '</meta><image id="0" name="a.jpg" width="8" height="6" subset="train"><tag label="dog"/>'
        '<box label="cat" xtl="2" ytl="2" xbr="6" ybr="4" rotation="90"/>'
        '<polygon label="cat" points="1,1;3,1;2,5"/></image></annotations>'
    )
    table = read_label_file(write(tmp_path, 'l.xml', text))
    (record,) = table.records
    assert record.labels == dict(cat=1, dog=1) and record.split == 'train' and record.size == (8, 6)
    assert np.allclose([box for _, box in record.boxes], [(3, 1, 5, 5), (1, 1, 3, 5)])
    region = dict(type='rectanglelabels', original_width=8, original_height=6)
    region['value'] = dict(x=50, y=0, width=50, height=100 / 3, rotation=90, rectanglelabels=['cat'])
    tasks = [dict(data=dict(image='a.jpg'), annotations=[dict(result=[region])])]
    (record,) = read_label_file(write(tmp_path, 'l.json', json.dumps(tasks))).records
    assert np.allclose(record.boxes[0][1], (2, 0, 4, 4))


def test_folders(tmp_path):
    for path in ('train/cat+dog/a.jpg', 'train/_none/b.jpg', 'val/dog/deep/c.jpg'):
        write(tmp_path, 'unused', '', pictures=[path])
    os.remove(tmp_path / 'unused')
    data = MultiLabelFile(str(tmp_path), split='train')
    assert data.CLASSES == ('cat', 'dog') and sorted(i['gt_label'] for i in data) == [[], [0, 1]]
    shutil.move(tmp_path / 'train/_none/b.jpg', tmp_path / 'train/b.jpg')
    with pytest.raises(UserError, match=r'train/b\.jpg: lies in no folder of labels: move it into one'):
        MultiLabelFile(str(tmp_path), split='train')


def test_pictures_of_any_size_have_one(tmp_path):
    """Of more pixels than Pillow opens, too: no more than their headers are read."""
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.jpg')
    sides, promised = struct.pack('>HH', 48, 64), struct.pack('>HH', 10_000, 20_001)
    (tmp_path / 'b.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes().replace(sides, promised, 1))
    table = LabelTable([LabelRecord('a.jpg', dict(cat=1)), LabelRecord('b.jpg', {})], ('cat',))
    write_label_file(table, tmp_path / 'l.json', 'coco', str(tmp_path))
    assert [record.size for record in read_label_file(tmp_path / 'l.json').records] == [
        (64, 48),
        (20_001, 10_000),
    ]


def test_an_existing_path_is_never_written(tmp_path):
    table = LabelTable([LabelRecord('a.jpg', dict(cat=1))], ('cat',))
    (tmp_path / 'mine.csv').write_text('mine')
    with pytest.raises(UserError, match='exists already'):
        write_label_file(table, tmp_path / 'mine.csv', 'csv-onehot')
    assert (tmp_path / 'mine.csv').read_text() == 'mine'


def test_examples_of_the_page(repo_root, tmp_path):
    """Each file of the page that names all formats is read, and says the same."""
    page = (repo_root / 'docs/label_files.md').read_text()
    files = re.findall(r'^`(\S+\.\w+)`\n\n```\n(.*?)^```', page, re.MULTILINE | re.DOTALL)
    found = set()
    for name, text in files:
        table = read_label_file(write(tmp_path, name, text))
        found.add(table.format)
        assert table.classes == ('cat', 'dog'), name
        assert list(table.columns.images) == ['a.jpg', 'b.jpg', 'c.jpg']
        assert table.matrix().tolist() == [[1, 1], [0, 0], [0, 1]]
    assert found | {'voc', 'folders'} == set(FORMATS)
    assert all(f'**`{form}`**' in page for form in FORMATS)

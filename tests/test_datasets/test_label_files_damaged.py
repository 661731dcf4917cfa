# ruff: noqa: E501
"""Damaged label files: whatever is wrong is a ``UserError`` that names file, line or entry and what to mend."""

import json
import re
import string
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmlattn.datasets import MultiLabelFile
from mmlattn.datasets.label_files import FORMATS, LabelRecord, LabelTable, read_label_file, write_label_file
from mmlattn.utils.errors import UserError

ENDINGS = dict(txt='.txt', jsonl='.jsonl', cvat='.xml', voc='', folders='')
FEW = settings(
    max_examples=25, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
WORDS = st.text(string.ascii_letters + 'äß漢é', min_size=1, max_size=8)
NAMES = st.builds(' '.join, st.lists(WORDS, min_size=1, max_size=2))
SIDES = st.integers(20, 90)


def path_of(folder, form):
    return Path(folder, f'l{ENDINGS.get(form, ".csv" if form.startswith("csv") else ".json")}')


@st.composite
def tables(draw):
    """Tables with boxes, of which a format says what it can."""
    # Names that differ by case alone, or are words of a header, have tests of their own.
    classes = draw(
        st.lists(NAMES, min_size=2, max_size=4, unique_by=lambda name: re.sub(r'\W', '', name).casefold())
    )
    classes = tuple(f'c {name}' for name in classes)
    records = []
    for number in range(draw(st.integers(1, 4))):
        labels = {name: 1 for name in classes if draw(st.booleans())}
        width, height = draw(SIDES), draw(SIDES)
        boxes = [
            (name, (1.0, 2.5, float(draw(st.integers(4, width))), float(draw(st.integers(4, height)))))
            for name in sorted(labels, key=classes.index)
            if draw(st.booleans())
        ]
        image = f'{draw(WORDS)} {number}.{draw(st.sampled_from(["jpg", "PNG"]))}'
        records.append(LabelRecord(image, labels, boxes=tuple(boxes), size=(float(width), float(height))))
    return LabelTable(records, classes)


def write(table, folder, form):
    """Write a table, with files for its pictures."""
    pictures = Path(folder, 'pictures')
    pictures.mkdir(exist_ok=True)
    for record in table.records:
        (pictures / record.image).write_bytes(b'x')
    path = path_of(folder, form)
    write_label_file(table, path, form, pictures=str(pictures))
    return path


@pytest.mark.parametrize('form', FORMATS)
@FEW
@given(table=tables())
def test_what_is_written_is_read(form, table):
    with TemporaryDirectory() as folder:
        read = read_label_file(write(table, folder, form), classes=table.classes)
    # Rows of which no picture has two say the same in both forms.
    assert read.format in {form, 'csv-names' if form == 'csv-rows' else form}
    assert read.classes == table.classes
    found = {record.image.rpartition('/')[2]: record for record in read.records}
    assert len(found) == len(table)
    for record in table.records:
        assert found[record.image].labels == record.labels
        if found[record.image].boxes is not None:
            boxes = found[record.image].boxes
            assert [name for name, _ in boxes] == [name for name, _ in record.boxes]
            assert np.allclose([box for _, box in boxes], [box for _, box in record.boxes])


PIECES = [b'\0', b'"', b',', b'\n', b'\xff', b'{', b']', b'<', b'-1', b'2', b';', b' ', b'', b'NaN', b'1e999', b'null',
          b'\xef\xbb\xbf', b'a.jpg,', b'"label"', b'\\ud800']  # fmt: skip


@pytest.mark.parametrize('form', [form for form in FORMATS if form != 'folders'])
@settings(FEW, max_examples=60)
@given(
    table=tables(),
    places=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(PIECES)), min_size=1, max_size=3
    ),
    known=st.booleans(),
)
def test_nothing_but_an_error_that_names_the_file_escapes(form, table, places, known):
    with TemporaryDirectory() as folder:
        path = file = write(table, folder, form)
        if form == 'voc':
            file = next(path.rglob('*.xml'))
        content = file.read_bytes()
        for share, length, piece in places:
            at = int(share * len(content))
            content = content[:at] + piece + content[at + length :]
        file.write_bytes(content)
        try:
            read = read_label_file(path, classes=table.classes if known else None)
        except UserError as error:
            assert str(error).startswith(str(path)), error
            assert '\n' not in str(error).strip() and ': ' in str(error)
            return
    # What can still be read says 1, 0 or -1 of its classes, of pictures that have a name.
    assert len(read) and set(np.unique(read.matrix())) <= {-1, 0, 1}
    assert all(record.image.strip() and set(record.labels) <= set(read.classes) for record in read.records)


ONE = '{"image":"a.jpg","labels":["cat"]}\n'
TASK = dict(data=dict(image='a.jpg'), annotations=[dict(result=[])])
REGION = dict(type='rectanglelabels', original_width=8, original_height=6)
CVAT = '<annotations><image id="0" name="a.jpg" width="8" height="6">{}</image></annotations>'
COCO = dict(
    images=[dict(id=1, file_name='a.jpg', width=8, height=6)],
    annotations=[dict(id=1, image_id=1, category_id=1)],
    categories=[dict(id=1, name='cat')],
)


def region(**value):
    result = REGION | dict(value=dict(x=1, y=1, width=9, height=9, rectanglelabels=['cat']) | value)
    return json.dumps([TASK | dict(annotations=[dict(result=[result])])])


# File, content, what the message says behind the path of the file.
DAMAGED = {
    'empty': ('l.csv', '\n \n', 'the file is empty: write'),
    'utf-16': ('l.csv', 'image,labels\na.jpg,cat\n'.encode('utf-16'), 'not text in UTF-8 but in UTF-16: save it as UTF-8'),
    'cp1252': ('l.csv', 'image,labels\na.jpg,caf\xe9\n'.encode('cp1252'), 'not text in UTF-8, line 2 .*: save it as UTF-8'),
    'workbook': ('l.csv', b'PK\x03\x04\x14\x00', 'a zip archive or an Excel workbook.*save it as csv'),
    'nul': ('l.csv', b'image,labels\na.jpg,cat\nb.jpg,\0\n', 'line 3: holds a NUL byte.*write it again'),
    'header alone': ('l.csv', 'image,labels\n', 'has a header in line 1 and nothing below: write a row'),
    'one column': ('l.csv', 'image\na.jpg\n', 'has one column alone.*write them'),
    'columns': ('l.csv', 'image,labels\na.jpg,cat\nb.jpg,cat,dog\n', 'line 3: has 3 columns, but line 1 has 2.*quotes'),
    'header twice': ('l.csv', 'image,cat,dog,cat\na.jpg,1,0,1\n', "line 1: the column 'cat' is there twice: rename"),
    'header blank': ('l.csv', 'image,cat,\na.jpg,1,0\n', 'line 1: column 3 of 3 has no name: write one'),
    'header case': ('l.csv', 'image,cat,Cat\na.jpg,1,0\n', "the list of classes: names the class 'Cat', others 'cat': spell both alike"),
    'number': ('l.csv', 'image,cat,dog\na.jpg,1,0\nb.jpg,2,1\n', r"line 3: column 'cat' holds '2'.*write 1 \(present\)"),
    'mixed': ('l.csv', 'image,labels,cat,dog\na.jpg,cat,1,0\n', "line 1: the column 'labels' holds names, but 'cat' ones"),
    'mixed cells': ('l.csv', 'image,cat,dog\na.jpg,1,0\nb.jpg,x,1\n', "line 3: column 'cat' holds 'x', others ones"),
    'quote open': ('l.csv', 'image,labels\na.jpg,"cat\nb.jpg,dog\n', r'line 2: a quote \("\) is opened and never closed'),
    'quote within': ('l.csv', 'image,labels\na.jpg,5" cat\nb.jpg,6" dog\n', r'line 2: a quote \("\) stands within a cell'),
    'huge': ('l.csv', 'image,labels\na.jpg,' + 'x' * 20_000 + '\n', 'line 2: a cell has 20001 bytes: the file is damaged'),
    'contradiction': ('l.csv', 'image,labels\na.jpg,cat\nb.jpg,\n./a.jpg,dog\n', 'line 4: .*already in line 2.*keep one'),
    'both': ('l.csv', 'image,label,value\na.jpg,cat,1\na.jpg,cat,0\n', 'line 3: a.jpg is said to be both 0 and 1 of cat'),
    'two splits': ('l.csv', 'image,label,split\na.jpg,cat,train\na.jpg,dog,val\n', "line 3: a.jpg has the split 'val', but"),
    'no picture': ('l.csv', 'image,labels\na.jpg,cat\n,dog\n', 'line 3: the path of its picture is missing: write it'),
    'spelling': ('l.csv', 'image,labels\na.jpg,hot dog\nb.jpg,hot-dog\n', "line 3: names the class 'hot-dog', others"),
    'header?': ('l.csv', 'x,cat\ny,dog\n', 'line 1: may name the columns or hold a picture.*say header=True'),
    'which column': ('l.csv', 'image,a,b\nx.jpg,u,v\ny.jpg,w,z\n', 'line 1: which column has the labels.*label_columns'),
    'separator': ('l.csv', 'image,labels\na.jpg,cat dog\nb.jpg,dog\nc.jpg,cat\nd.jpg,hot tub\n', ".*say separator=' '"),
    'no classes': ('l.txt', 'a.jpg\nb.jpg\n', 'no picture has a label, so the classes can not be inferred: set metainfo'),
    'ones': ('l.txt', 'a.jpg 0 1 1\nb.jpg 1 0 0\n', 'has 3 ones and zeros in each line.*set metainfo.classes to 3 names'),
    'ragged': ('l.txt', 'a.jpg 0 1 1\nb.jpg 1 0 0\nc.jpg 1 1\n', 'line 3: has 2 numbers, others 3: write one for each'),
    'marks': ('l.txt', 'a.jpg cat\nb.jpg,dog\n', "line 2: has ',' behind the path, lines before it ' ': write one"),
    'names and numbers': ('l.txt', 'a.jpg cat\nb.jpg 7\n', "line 2: has the label '7', others are names: set"),
    'json line': ('l.jsonl', ONE + '{"image":\n', 'line 2: column .*not valid json.*write one whole object in each line'),
    'json list': ('l.jsonl', ONE + '[1]\n', 'line 2: must be an object with image and labels'),
    'no labels': ('l.jsonl', ONE + '{"image":"b.jpg"}\n', 'line 2: has image alone: expected one of labels'),
    'one-hot': ('l.jsonl', ONE + '{"image":"b.jpg","labels":[0,0,1]}\n', 'line 2: labels has 0 twice: name each label once'),
    'json value': ('l.jsonl', '{"image":"b.jpg","labels":{"cat":2}}\n', r'line 1: cat must be 1 \(present\), 0 \(absent\)'),
    'surrogate': ('l.jsonl', '{"image":"\\ud800.jpg","labels":["cat"]}\n', 'line 1: .*half a character.*UTF-8'),
    'other json': ('l.json', '{"pictures": []}', r'expected images, annotations.*found an object with pictures: export'),
    'cut json': ('l.json', '{"images": [', 'line 1, column 13: not valid json.*damaged or only partly downloaded'),
    'plain': ('l.json', '{"metainfo":{"classes":["cat"]},"data_list":[{"img_path":"a.jpg","gt_label":[1]}]}',
              r'data_list\[0\]: gt_label of a.jpg holds \[1\], outside 0 to 0'),
    'coco list': ('l.json', json.dumps(COCO | dict(images=[COCO['images'][0] | dict(neg_category_ids=[7])])),
                  r'images\[0\]: neg_category_ids must be a list of ids of categories'),
    'coco': ('l.json', json.dumps(COCO | dict(annotations=[dict(id=1, image_id=2, category_id=1)])),
             r'annotations\[0\]: image_id 2 is not among images: add it there or drop'),
    'task': ('l.json', json.dumps([TASK | dict(annotations=[])]), r'task \[0\]: has no annotation: annotate it, or'),
    'two annotators': ('l.json', json.dumps([TASK | dict(annotations=[
        dict(result=[dict(type='choices', value=dict(choices=[name]))]) for name in ('cat', 'dog')])]),
        r'task \[0\]: its annotations differ in cat, dog: keep one'),
    'rectangle': ('l.json', region(width=-1), r'task \[0\]: a rectangle must have x, y, width and height in per cent'),
    'outside': ('l.json', region(x=500), r'task \[0\]: the box .* does not fit.*write xmin'),
    'cvat number': ('l.xml', CVAT.format('<box label="cat" xtl="a" ytl="1" xbr="2" ybr="2"/>'),
                    r"image 0 \(a.jpg\): xtl must be a number, got 'a'"),
    'cvat label': ('l.xml', CVAT.format('<tag/>'), r'image 0 \(a.jpg\): a tag has no label'),
    'cvat video': ('l.xml', '<annotations><track/></annotations>', 'element track: is of a video: export it again'),
    'xml': ('l.xml', CVAT[:30], 'not valid xml .*: the file is damaged or only partly downloaded'),
    'ending': ('l.xlsx', b'PK', r"its format can not be told from the ending 'xlsx'.*say format, or save"),
}  # fmt: skip


@pytest.mark.parametrize('case', DAMAGED)
def test_damage_is_named_with_its_place_and_the_mend(tmp_path, case):
    name, content, words = DAMAGED[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_label_file(path)
    assert re.match(rf'{re.escape(str(path))}: {words}', str(caught.value)), caught.value


LIST = 'image,labels\na.jpg,cat\nb.jpg,elephnat\n'
WRONG = {
    'misspelt': (LIST, dict(classes=['cat', 'elephant']), "line 3: names the class 'elephnat'.*did you mean elephant"),
    'other': (LIST, dict(classes=['cat', 'emu']), "line 3: names the class 'elephnat', which is not among the 2 classes cat, emu"),
    'column': ('image,cat\na.jpg,1\n', dict(classes=['dog']), 'no category is called dog'),
    'range': ('image,labels\na.jpg,1\nb.jpg,1;2\n', dict(classes=['cat', 'dog']), 'line 3: has the label 2, outside 0 to 1'),
    'setting': (LIST, dict(read=dict(separators=' ')), 'the format csv does not take all of separators: leave them out'),
    'no such column': (LIST, dict(read=dict(label_columns='tags')), "label_columns='tags' is not there: the file has the"),
    'pictures': ('image,labels\nno.jpg,cat\n', {}, '1 of 1 images are missing, first .*no.jpg'),
    'case': ('image,labels\nA.jpg,cat\n', {}, r'1 of 1 images are missing, first .*A\.jpg: there is .*a\.jpg, which differs'),
    'ending': ('image,labels\na.png,cat\n', {}, 'there is .*a.jpg, with another extension: write the name as the file'),
    'no split': (LIST, dict(split='train'), "says no split of its pictures, but split='train': leave split out, or"),
    'split': ('image,labels,split\na.jpg,cat,train\n', {}, "has the splits train: take one, such as split='train', or 'all'"),
    'other split': ('image,labels,split\na.jpg,cat,train\n', dict(split='trian'), "split='trian': did you mean train"),
    'nothing to learn': ('image,cat,dog\na.jpg,0,0\n', {}, 'none of its 1 images has a label of the classes cat, dog'),
}  # fmt: skip


@pytest.mark.parametrize(
    'options',
    [
        dict(delimiter=';;'), dict(delimiter=''), dict(header='yes'), dict(separator=3), dict(label_columns=1.5),
        dict(label_columns=['labels', None]), dict(label_columns='image'), dict(split_column=0), dict(group_column='image'),
        dict(image_column=[0]),
    ],
)  # fmt: skip
def test_settings_of_a_table_that_are_none(tmp_path, options):
    (tmp_path / 'a.csv').write_text('image,labels,split\na.jpg,cat,train\n')
    with pytest.raises(UserError, match=next(iter(options))):
        read_label_file(tmp_path / 'a.csv', **options)


@pytest.mark.parametrize('case', WRONG)
def test_the_data_set_refuses_what_does_not_fit(tmp_path, case):
    content, options, words = WRONG[case]
    for name in ('a.jpg', 'b.jpg'):
        (tmp_path / name).touch()
    path = tmp_path / 'l.csv'
    path.write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        MultiLabelFile(str(path), serialize_data=False, **options)
    assert str(path) in str(caught.value)


def test_advice_for_tables_is_right(tmp_path):
    """What the messages of this file advise."""
    path = tmp_path / 'l.csv'
    for content, advised in (
        ('x,cat\ny,dog\n', [dict(header=True), dict(header=False)]),
        ('image,a,b\nx.jpg,u,v\ny.jpg,w,z\n', [dict(label_columns='b'), dict(label_columns=['a'])]),
        (
            'image,labels,cat,dog\na.jpg,cat,1,0\n',
            [dict(label_columns='labels'), dict(label_columns=['cat', 'dog'])],
        ),
        (
            'image,labels\na.jpg,cat dog\nb.jpg,dog\nc.jpg,cat\nd.jpg,hot tub\n',
            [dict(separator=' '), dict(separator='')],
        ),
    ):
        path.write_text(content)
        for options in advised:
            assert len(read_label_file(path, **options))
    path.write_text(LIST)
    table = read_label_file(path, classes=['cat', 'dog'], other_classes='leave_out')
    assert table.matrix().tolist() == [[1, 0], [0, 0]] and 'elephnat (1)' in ' '.join(table.notes)


@pytest.mark.parametrize(
    ('name', 'text', 'labels'),
    [
        ('a.csv', 'sep=;\r\nimage;cat;dog\r\na.jpg;1;0\r\nb.jpg;0;1\r\n', [['cat'], ['dog']]),
        ('a.tsv', 'image,labels\na.jpg,cat\nb.jpg,dog\n', [['cat'], ['dog']]),
        ('a.csv', "image,labels\na.jpg,['cat' 'dog']\nb.jpg,\"('dog',)\"\n", [['cat', 'dog'], ['dog']]),
        ('a.csv', 'image,labels,split\na.jpg,cat,\nb.jpg,dog,\n', [['cat'], ['dog']]),
        ('a.txt', '"a.jpg" cat dog\n"b.jpg" dog\n', [['cat', 'dog'], ['dog']]),
        ('a.jsonl', '{"image": "a.jpg", "labels": {"cat": 1.0, "dog": 0.0}}\n{"image": "b.jpg", "labels": ["dog"]}\n',
         [['cat'], ['dog']]),
    ],
    ids=['excel', 'tsv with commas', 'numpy and tuple', 'blank splits', 'quoted paths', 'floats'],
)  # fmt: skip
def test_what_programs_write(tmp_path, name, text, labels):
    for picture in ('a.jpg', 'b.jpg'):
        (tmp_path / picture).write_bytes(b'x')
    (tmp_path / name).write_text(text, newline='')
    data = MultiLabelFile(str(tmp_path / name), pipeline=[])
    found = [
        [data.metainfo['classes'][label] for label in item['gt_label']]
        for item in map(data.get_data_info, (0, 1))
    ]
    assert found == labels


def test_header_of_thousands_of_classes(tmp_path):
    classes = [f'class {number:04}' for number in range(3000)]
    path = tmp_path / 'wide.csv'
    path.write_text(','.join(['image', *classes]) + '\na.jpg,' + ','.join(['1', '0'] * 1500) + '\n')
    table = read_label_file(path)
    assert table.classes == tuple(classes)
    assert table.matrix()[0].tolist() == [1, 0] * 1500


@pytest.mark.parametrize(
    ('name', 'text', 'told'),
    [
        ('a.csv', 'image,cat,dog\na.jpg,1,0\nimage,cat,dog\nb.jpg,0,1\n', 'line 3: is the header of line 1 again'),
        ('a.csv', 'image;cat;dog\na.jpg;x;\nb.jpg;;x\n', "(but 'x')"),
        ('a.csv', 'image,labels\na.jpg,nan\nb.jpg,dog\n', "line 2: has the label 'nan', which stands for nothing"),
        ('a.csv', 'image,labels\na.jpg,Ha\u0308\nb.jpg,H\u00e4\n', r"line 3: names the class 'H\xe4', others 'Ha\u0308'"),
        ('a.csv', 'image,labels\na.jpg,\u200bcat\nb.jpg,cat\n', r"the class '\u200bcat', others 'cat'"),
        ('a.csv', 'image,labels,split\na.jpg,cat,\nb.jpg,dog,val\n', 'has the splits val (1 pictures have none): take one'),
        ('a.txt', '# mine\na.jpg cat\nb.jpg dog\n', "line 1: '# mine' names no picture"),
        ('a.jsonl', '{"image": "a.jpg", "labels": "cat,dog"}\n', "line 1: labels is the text 'cat,dog'"),
    ],
    ids=['header again', 'marks', 'nan', 'accents', 'invisible', 'some splits', 'comment', 'text of names'],
)  # fmt: skip
def test_what_is_told_of_odd_files(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        MultiLabelFile(str(tmp_path / name), pipeline=[])
    assert told in str(caught.value)


def test_folders_have_their_pictures_below_data_root(tmp_path):
    (tmp_path / 'mine' / 'cat').mkdir(parents=True)
    (tmp_path / 'mine' / 'cat' / 'a.jpg').write_bytes(b'x')
    data = MultiLabelFile('mine', data_root=str(tmp_path), pipeline=[])
    assert data.get_data_info(0)['img_path'] == str(tmp_path / 'mine' / 'cat' / 'a.jpg')


def test_names_in_a_split_of_voc_without_xml(tmp_path):
    for name in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (tmp_path / 'voc' / name).mkdir(parents=True)
    xml = '<annotation><size><width>8</width><height>6</height></size><object><name>cat</name></object></annotation>'
    (tmp_path / 'voc/Annotations/a.xml').write_text(xml)
    (tmp_path / 'voc/JPEGImages/a.jpg').write_bytes(b'x')
    split = tmp_path / 'voc/ImageSets/Main/train.txt'
    split.write_text('a\nb\n')
    data = MultiLabelFile('voc', data_root=str(tmp_path), split='train', pipeline=[])
    assert data.get_data_info(0)['img_path'] == str(tmp_path / 'voc/JPEGImages/a.jpg')
    split.write_text('a 1\n')
    with pytest.raises(UserError, match=r"train\.txt: 1 of 1 names have no xml file, first line 1, 'a 1'"):
        MultiLabelFile('voc', data_root=str(tmp_path), split='train', pipeline=[])

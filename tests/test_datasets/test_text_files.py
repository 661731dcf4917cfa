"""Lists and xml as Windows, spreadsheets and other countries write them."""

import codecs
import re
import shutil

import pytest
from fine_grained_fixtures import write_cub, write_nabirds
from nus_wide_fixtures import write_nus_wide
from PIL import Image

from mmlattn.datasets import COCOMultiLabel, CUBBox, NABirds, NUSWide, PlainMultiLabel, VOCBox
from mmlattn.datasets.annotation_files import read_class_list
from mmlattn.utils.errors import UserError


def untidy(path):
    """The same lines after a byte order mark, with blanks around them and blank lines between."""
    lines = path.read_text().splitlines()
    path.write_bytes(codecs.BOM_UTF8 + ''.join(f' {line} \t\r\n\r\n  \r\n' for line in lines).encode())


def write_voc(root, names=('helmet', 'vest')):
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new('RGB', (40, 20)).save(root / f'JPEGImages/{number}.jpg')
        write_xml(root, number, name)
    (root / 'ImageSets/Main/train.txt').write_text(''.join(f'{number}\n' for number in range(len(names))))
    return root


def write_xml(root, number, name, encoding='utf-8', declared='', mark=b''):
    text = (
        f'<annotation><size><width>40</width><height>20</height></size><object><name>{name}</name><bndbox>'
        '<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>'
    )
    (root / f'Annotations/{number}.xml').write_bytes(mark + f'{declared}\n{text}'.encode(encoding))


def items(data):
    return [data.get_data_info(i) for i in range(len(data))]


def test_class_lists(tmp_path):
    root = write_voc(tmp_path / 'voc')
    path = tmp_path / 'classes.txt'
    path.write_text('vest\nhelmet\ntraffic light\n')
    untidy(path)
    assert read_class_list(str(path)) == ('vest', 'helmet', 'traffic light')
    for options in (dict(classes=str(path)), dict(metainfo=dict(classes=str(path))), dict(classes=path)):
        data = VOCBox(str(root), 'train', **options)
        assert data.CLASSES == ('vest', 'helmet', 'traffic light')
        assert [item['gt_label'] for item in items(data)] == [[1], [0]]


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'a\nb\na \n', r'classes\.txt: classes named twice: a'),
        (b'\xef\xbb\xbf\r\n \r\n', r'classes\.txt: class names must be strings, at least one'),
        ('a\nb\n'.encode('utf-16'), r'classes\.txt: not text in UTF-8 but in UTF-16: save it as UTF-8'),
        (b'a\nna\xefve\n', r'classes\.txt: not text in UTF-8, line 2 .*0xef.*: save it as UTF-8'),
    ],
)
@pytest.mark.parametrize('cls', [COCOMultiLabel, PlainMultiLabel])
def test_bad_class_lists_are_named(tmp_path, content, words, cls):
    path = tmp_path / 'classes.txt'
    path.write_bytes(content)
    for options in (dict(classes=str(path)), dict(metainfo=dict(classes=str(path)))):
        with pytest.raises(UserError, match=words):
            cls('none.json', **options)


def test_voc_lists(tmp_path):
    root = write_voc(tmp_path)
    untidy(root / 'ImageSets/Main/train.txt')
    data = VOCBox(str(root), 'train')
    assert [item['img_id'] for item in items(data)] == ['0', '1']
    assert [item['gt_label'] for item in items(data)] == [[0], [1]]
    (root / 'ImageSets/Main/train.txt').write_text('0\n\n1\n0\n')
    with pytest.raises(UserError, match=r'train\.txt: line 4: 0 is already in line 1'):
        VOCBox(str(root), 'train')


@pytest.mark.parametrize(('write', 'cls'), [(write_cub, CUBBox), (write_nabirds, NABirds)])
def test_cub_and_nabirds(tmp_path, write, cls):
    root = write(tmp_path)
    before = cls(str(root))
    for path in root.glob('*.txt'):
        if path.name != 'hierarchy.txt':
            untidy(path)
    after = cls(str(root))
    assert after.CLASSES == before.CLASSES
    for one, other in zip(items(before), items(after), strict=True):
        assert (one['img_path'], one['gt_label']) == (other['img_path'], other['gt_label'])
    text = (root / 'image_class_labels.txt').read_bytes()
    (root / 'image_class_labels.txt').write_bytes(text + b'\n\n9999 1\n')
    line = text.count(b'\n') + 3
    with pytest.raises(UserError, match=rf'image_class_labels\.txt: line {line}: id 9999 is not in'):
        cls(str(root))


def test_nus_wide(tmp_path):
    root, pictures = write_nus_wide(tmp_path)
    expected = items(NUSWide(str(root)))
    for name in ('ConceptsList/Concepts81.txt', 'ImageList/TrainImagelist.txt'):
        untidy(root / name)
    for path in (root / 'Groundtruth/AllLabels').iterdir():
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert items(NUSWide(str(root))) == expected
    mine = tmp_path / 'mine.txt'
    mine.write_text('\n'.join(pictures))
    untidy(mine)
    assert len(NUSWide(str(root), protocol='srn', list_file=str(mine))) == len(pictures)
    # Here lines are counted.
    untidy(root / 'ImageList/Imagelist.txt')
    with pytest.raises(UserError, match=r'Imagelist\.txt: line 2: is blank'):
        NUSWide(str(root))


CHINESE, DECLARED = '安全帽', '<?xml version="1.0" encoding="{}"?>'


@pytest.mark.parametrize(
    ('encoding', 'declared', 'mark'),
    [
        ('utf-8', '', b''),
        ('utf-8', '', codecs.BOM_UTF8),
        ('utf-8', '<?xml version="1.0"?>', codecs.BOM_UTF8),
        ('utf-8', DECLARED.format('utf-8'), b''),
        ('utf-8', DECLARED.format('gb2312'), codecs.BOM_UTF8),
        ('utf-16', DECLARED.format('utf-16'), b''),
        ('gb2312', DECLARED.format('gb2312'), b''),
        ('gbk', DECLARED.format('GBK'), b''),
        ('big5', DECLARED.format('Big5'), b''),
        ('shift_jis', DECLARED.format('Shift_JIS'), b''),
    ],
)
def test_xml_in_other_encodings(tmp_path, encoding, declared, mark):
    root = write_voc(tmp_path)
    name = '全' if encoding in ('big5', 'shift_jis') else CHINESE
    write_xml(root, 0, name, encoding, declared, mark)
    data = VOCBox(str(root), 'train', classes=[name, 'vest'])
    assert [item['gt_label'] for item in items(data)] == [[0], [1]]


def test_gbk_that_is_declared_as_gb2312(tmp_path):
    root = write_voc(tmp_path)
    write_xml(root, 0, '镕', 'gbk', DECLARED.format('gb2312'))  # not in GB2312
    assert VOCBox(str(root), 'train', classes=['镕', 'vest'])[0]['gt_label'] == [0]


@pytest.mark.parametrize(
    ('encoding', 'declared', 'words'),
    [
        ('gbk', '', r'not text in UTF-8, line 2 \(.*\): save it as UTF-8, or declare the encoding'),
        ('latin-1', DECLARED.format('utf-8'), 'not text in UTF-8, line 2'),
        ('latin-1', DECLARED.format('klingon'), 'the encoding klingon is not known: save it as UTF-8'),
        ('latin-1', DECLARED.format('ascii'), 'not text in ascii, which it declares .*: declare the right'),
        ('latin-1', DECLARED.format('base64'), 'the encoding base64 is not known'),
    ],
)
def test_xml_that_can_not_be_decoded_is_named(tmp_path, encoding, declared, words):
    root = write_voc(tmp_path)
    write_xml(root, 1, CHINESE if encoding == 'gbk' else 'café', encoding, declared)
    with pytest.raises(UserError, match=rf'{re.escape(str(root))}/Annotations/1\.xml: {words}'):
        VOCBox(str(root), 'train')


def test_other_text_files_in_utf_16(tmp_path):
    cub = write_cub(tmp_path)
    path = cub / 'images.txt'
    path.write_bytes(path.read_text().encode('utf-16'))
    with pytest.raises(UserError, match=r'images\.txt: not text in UTF-8 but in UTF-16: save it as UTF-8'):
        CUBBox(str(cub))
    shutil.rmtree(cub)
    root = write_voc(tmp_path / 'voc')
    path = root / 'ImageSets/Main/train.txt'
    path.write_bytes(path.read_text().encode('utf-16'))
    with pytest.raises(UserError, match=r'train\.txt: not text in UTF-8 but in UTF-16'):
        VOCBox(str(root), 'train')

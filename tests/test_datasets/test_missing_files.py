"""What is said of a file that is not there: what is there in its place, and what to change."""

import json
import re
import unicodedata

import pytest
from fine_grained_fixtures import write_cub, write_dogs
from nus_wide_fixtures import write_nus_wide
from PIL import Image

from mmlattn.datasets import (
    COCOMultiLabel,
    CUBBox,
    NUSWide,
    PlainMultiLabel,
    StanfordDogs,
    VOCBox,
    annotation_files,
)
from mmlattn.utils.errors import UserError


def write_plain(root, name, file='train/a b.jpg'):
    """A list that names a picture ``name``, and the picture ``file``."""
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    if not (root / file).exists():
        Image.new('RGB', (8, 6)).save(root / file, 'jpeg')
    content = dict(metainfo=dict(classes=['a']), data_list=[dict(img_path=name, gt_label=[0])])
    (root / 'list.json').write_text(json.dumps(content))


def plain(root, **options):
    return PlainMultiLabel('list.json', **dict(dict(data_root=str(root), data_prefix='train'), **options))


OTHERWISE = (
    'there is {}/train/a b.jpg, which differs in case, blanks around it or the way accents are written: write'
)
CASES = {
    'case': ('A b.JPG', OTHERWISE),
    'blank at the end': ('a b.jpg ', OTHERWISE),
    'blank in front': (' a b.jpg', OTHERWISE),
    'quoted': ('a%20b.jpg', OTHERWISE),
    'extension': (
        'a b.png',
        'there is {}/train/a b.jpg, with another extension: write the name as the file has it',
    ),
    'no extension': ('a b', 'there is {}/train/a b.jpg, with another extension'),
    'web address': (
        'https://x.org/a b.jpg',
        'it holds a web address: download the pictures, and write the names of',
    ),
    'bucket': ('gs://x/a b.jpg', 'it holds a web address'),
    'folder twice': (
        'train/a b.jpg',
        'there is {}/train/a b.jpg: leave train out of data_prefix, or out of the names',
    ),
    'folder too many': ('images/a b.jpg', 'there is {}/train/a b.jpg: leave images out of data_prefix'),
    'backslash': (
        '..\\train\\a b.jpg',
        'there is {}/train/../train/a b.jpg: write / in place of each backslash',
    ),
    'home': ('~/a b.jpg', 'neither ~ nor variables of the shell are replaced here: write the whole path'),
    'variable': ('$DATA/a b.jpg', 'neither ~ nor variables of the shell are replaced'),
    'too long': (400 * 'a' + '.jpg', 'it can not be looked for (File name too long): mend the name'),
    'nothing': (
        'c.jpg',
        'set data_root and data_prefix of the data set to the folder with the pictures, or finish',
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_a_picture_that_is_called_otherwise(tmp_path, case):
    name, words = CASES[case]
    write_plain(tmp_path, name)
    with pytest.raises(UserError) as error:
        plain(tmp_path)
    assert f'/list.json: 1 of 1 images are missing, first {tmp_path}/train/{name}: ' in str(error.value)
    assert words.format(tmp_path) in str(error.value)
    assert ('finish the download' in str(error.value)) == (case == 'nothing')


PREFIXES = {
    'case': ('Train', 'there is {}/train, which differs in case'),
    'blank': ('train ', 'there is {}/train, which differs in case, blanks'),
    'backslash': ('.\\train', 'there is {}/./train/a b.jpg: write / in place of each backslash'),
    'none': ('', 'there is {}/train/a b.jpg: add train to data_prefix, or to the names'),
}


@pytest.mark.parametrize('case', PREFIXES)
def test_a_folder_that_is_called_otherwise(tmp_path, case):
    prefix, words = PREFIXES[case]
    write_plain(tmp_path, 'a b.jpg')
    with pytest.raises(UserError, match='1 of 1 images are missing') as error:
        plain(tmp_path, data_prefix=prefix)
    assert words.format(tmp_path) in str(error.value) and 'finish' not in str(error.value)


def test_a_folder_that_is_missing_or_packed(tmp_path):
    write_plain(tmp_path, 'c.jpg')
    with pytest.raises(UserError, match=rf'there is no folder {tmp_path}/val: set data_root and data_prefix'):
        plain(tmp_path, data_prefix='val')
    (tmp_path / 'val.tar.gz').touch()
    with pytest.raises(UserError, match=rf'there is {tmp_path}/val\.tar\.gz: unpack it'):
        plain(tmp_path, data_prefix='val')


def test_accents_in_two_parts(tmp_path):
    name = unicodedata.normalize('NFC', 'é.jpg')
    write_plain(tmp_path, name, 'train/' + unicodedata.normalize('NFD', name))
    with pytest.raises(UserError, match=r'which differs in .* the way accents are written'):
        plain(tmp_path)


def test_links_that_lead_nowhere_and_folders(tmp_path):
    write_plain(tmp_path, 'c.jpg')
    (tmp_path / 'train/c.jpg').symlink_to('/gone/c.jpg')
    with pytest.raises(UserError, match=r'first .*c\.jpg: it is a link to /gone/c\.jpg, which is not there'):
        plain(tmp_path)
    (tmp_path / 'train/c.jpg').unlink()
    (tmp_path / 'train/c.jpg').mkdir()
    with pytest.raises(UserError, match=r'first .*c\.jpg: it is a folder, expected a file'):
        plain(tmp_path)
    (tmp_path / 'train/c.jpg').rmdir()
    (tmp_path / 'train/c.jpg').symlink_to(tmp_path / 'train/a b.jpg')
    assert len(plain(tmp_path)) == 1


def test_a_later_picture_may_explain(tmp_path):
    write_plain(tmp_path, 'gone.jpg')
    content = json.loads((tmp_path / 'list.json').read_text())
    content['data_list'].append(dict(img_path='A b.jpg', gt_label=[0]))
    (tmp_path / 'list.json').write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r'2 of 2 .*first .*gone\.jpg: for .*/A b\.jpg there is .*/a b\.jpg, which'
    ):
        plain(tmp_path)


@pytest.mark.parametrize(
    ('prefix', 'words'),
    [
        (
            dict(img='train/'),
            r"must have img_path, got \{'img': 'train/'\}: write .*dict\(img_path='train/'\)",
        ),
        (dict(img_path=None), 'data_prefix: img_path must be the path of a folder, got None'),
        (['train'], r"must have img_path, got \['train'\]: write data_prefix=dict\(img_path='train'\)"),
        (
            {},
            r"must have img_path, got \{\}: write data_prefix=dict\(img_path='the folder with the pictures'\)",
        ),
    ],
)
def test_data_prefix(tmp_path, prefix, words):
    write_plain(tmp_path, 'a b.jpg')
    for cls in (PlainMultiLabel, COCOMultiLabel):
        with pytest.raises(UserError, match=words):
            cls('list.json', data_root=str(tmp_path), data_prefix=prefix)
    assert len(plain(tmp_path, data_prefix=dict(img_path=tmp_path / 'train'))) == 1
    assert len(plain(tmp_path, data_prefix=tmp_path / 'train')) == 1


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('List.json', r'no such file: there is .*/list\.json, which differs in case'),
        ('list.json ', r'no such file: there is .*/list\.json, which differs in case, blanks'),
        ('list.jsonl', r'no such file: there is .*/list\.json, with another extension'),
        ('train/list.json', r'no such file: there is .*/list\.json: leave train out'),
        ('train', 'can not be read: it is a folder, expected a file'),
        ('list.json/x', r'no such file: .*/list\.json is a file, expected a folder'),
        ('val.json', 'no such file: set data_root and ann_file of the data set'),
    ],
)
def test_annotation_files(tmp_path, name, words):
    write_plain(tmp_path, 'a b.jpg')
    with pytest.raises(UserError, match=f'^{re.escape(str(tmp_path / name))}.*: {words}'):
        PlainMultiLabel(f'{tmp_path}/{name}', data_prefix='train')


def test_no_annotation_file_at_all(tmp_path):
    with pytest.raises(UserError, match=r"^'': no such file: set data_root and ann_file of the data set"):
        PlainMultiLabel('')


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    write_plain(tmp_path, 'a b.jpg')

    def get(path):
        raise PermissionError(13, 'Permission denied', path)

    monkeypatch.setattr(annotation_files, 'get', get)  # root may read everything
    with pytest.raises(UserError, match=r'list\.json: can not be read: Permission denied'):
        plain(tmp_path)


def test_voc(tmp_path):
    for folder in ('JPEGImages', 'annotations', 'ImageSets/Main'):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / 'ImageSets/Main/Train.txt').write_text('a.jpg\n')
    with pytest.raises(
        UserError, match=r'train\.txt: no such file: there is .*/Train\.txt, which differs in case'
    ):
        VOCBox(str(tmp_path), 'train')
    (tmp_path / 'ImageSets/Main/Train.txt').rename(tmp_path / 'ImageSets/Main/train.txt')
    (tmp_path / 'annotations/a.xml').write_text('<annotation/>')
    with pytest.raises(
        UserError, match=r"train\.txt: line 1: must hold the id of an image, got 'a\.jpg': leave the"
    ):
        VOCBox(str(tmp_path), 'train', data_prefix=dict(img_path='JPEGImages', ann_path='annotations'))
    (tmp_path / 'ImageSets/Main/train.txt').write_text('a\n')
    with pytest.raises(
        UserError, match=r'Annotations/a\.xml: no such file: there is .*/annotations, which differs'
    ):
        VOCBox(str(tmp_path), 'train')


def test_other_data_sets(tmp_path):
    root = write_cub(tmp_path)
    (root / 'images').rename(root / 'Images')
    with pytest.raises(
        UserError, match=r'6 of 6 images are missing, .*: there is .*/Images, which differs in case'
    ):
        CUBBox(str(root))
    root = write_dogs(tmp_path)
    (root / 'Images').rename(root / 'images')
    with pytest.raises(
        UserError, match=r'6 of 6 images are missing, .*: there is .*/images, which differs in case'
    ):
        StanfordDogs(str(root))
    root, _ = write_nus_wide(tmp_path)
    (root / 'Flickr').rename(root / 'flickr')
    with pytest.raises(UserError, match=r'12 of 12 pictures .*: there is .*/flickr, which differs in case'):
        NUSWide(str(root))

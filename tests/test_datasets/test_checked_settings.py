"""Settings, and labels, that no data set of ours passes over without a word."""

import json
import logging
import re
from functools import partial

import pytest
from fine_grained_fixtures import write_cub, write_dogs, write_nabirds
from mmengine.logging import MMLogger
from nus_wide_fixtures import write_nus_wide
from PIL import Image

from mmlattn.datasets import COCOMultiLabel, CUBBox, NABirds, NUSWide, PlainMultiLabel, StanfordDogs, VOCBox
from mmlattn.utils.errors import UserError

XML = (
    '<annotation><size><width>40</width><height>20</height></size><object><name>{}</name><bndbox><xmin>1</xmin>'
    '<ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>'
)


def write_own(root):
    """One picture, helmet.jpg with a helmet, as json of both kinds and in VOC's layout."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    Image.new('RGB', (40, 20)).save(root / 'JPEGImages/helmet.jpg')
    (root / 'Annotations/helmet.xml').write_text(XML.format('helmet'))
    (root / 'ImageSets/Main/train.txt').write_text('helmet\n')
    coco = dict(
        images=[dict(id=1, file_name='helmet.jpg', width=40, height=20)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 9, 9])],
        categories=[dict(id=1, name='helmet'), dict(id=2, name=' vest ')],
    )
    plain = dict(
        metainfo=dict(classes=['helmet', 'vest']), data_list=[dict(img_path='helmet.jpg', gt_label=[0])]
    )
    (root / 'coco.json').write_text(json.dumps(coco))
    (root / 'plain.json').write_text(json.dumps(plain))
    return root


@pytest.fixture(scope='module')
def builders(tmp_path_factory):
    """What makes each data set from further settings."""
    folder = tmp_path_factory.mktemp('all')
    own = write_own(folder / 'own')
    pictures = str(own / 'JPEGImages')
    return dict(
        coco=partial(COCOMultiLabel, str(own / 'coco.json'), data_prefix=pictures),
        plain=partial(PlainMultiLabel, str(own / 'plain.json'), data_prefix=pictures),
        voc=partial(VOCBox, str(own), 'train'),
        cub=partial(CUBBox, str(write_cub(folder))),
        nabirds=partial(NABirds, str(write_nabirds(folder))),
        dogs=partial(StanfordDogs, str(write_dogs(folder))),
        nus=partial(NUSWide, str(write_nus_wide(folder)[0])),
    )


ALL = ('coco', 'plain', 'voc', 'cub', 'nabirds', 'dogs', 'nus')


@pytest.mark.parametrize('name', ALL)
def test_every_data_set_refuses_classes_it_would_not_read(builders, name):
    assert len(builders[name]()) > 0
    for options, words in (
        (dict(metainfo=dict(CLASSES=['helmet'])), 'metainfo has CLASSES, which is not read: write classes'),
        (
            dict(classes=['a'], metainfo=dict(classes=['b'])),
            'classes are .* but metainfo.classes .*: give one',
        ),
        (dict(metainfo=['helmet']), 'metainfo must be a dict'),
        (dict(metainfo=dict(classes=['a', ' '])), r'class 1 \(counted from 0\) has a blank name'),
    ):
        with pytest.raises(UserError, match=words):
            builders[name](**options)


@pytest.mark.parametrize('name', ['coco', 'plain'])
def test_blanks_around_names_do_not_count(builders, name):
    for options in ({}, dict(classes=['helmet', 'vest']), dict(metainfo=dict(classes=['helmet ', ' vest']))):
        data = builders[name](**options)
        assert data.CLASSES == ('helmet', 'vest') and data[0]['gt_label'] == [0]


def test_a_category_spelt_otherwise_is_named(builders):
    for name, meant in (('Vest', 'vest'), ('helmat', 'helmet')):
        with pytest.raises(UserError, match=f'no category is called {name}: did you mean {meant}'):
            builders['coco'](classes=[name])


def test_old_key_in_a_plain_file(builders, tmp_path):
    path = tmp_path / 'plain.json'
    path.write_text(json.dumps(dict(metainfo=dict(CLASSES=['a']), data_list=[])))
    with pytest.raises(UserError, match=r'plain\.json: metainfo has CLASSES, which is not read'):
        PlainMultiLabel(str(path))


@pytest.mark.parametrize('name', ['coco', 'plain'])
def test_data_without_any_label_are_refused_in_training(builders, name, tmp_path):
    root = write_own(tmp_path / 'own')
    content = json.loads((root / f'{name}.json').read_text())
    if name == 'coco':
        content['annotations'] = []
    else:
        content['data_list'][0]['gt_label'] = []
    (root / f'{name}.json').write_text(json.dumps(content))
    cls, options = builders[name].func, dict(data_prefix=str(root / 'JPEGImages'))
    with pytest.raises(
        UserError, match=r'none of its 1 images has a label of the classes helmet, vest, so there is'
    ):
        cls(str(root / f'{name}.json'), **options)
    assert cls(str(root / f'{name}.json'), test_mode=True, **options)[0]['gt_label'] == []


def test_labels_of_nus_wide_that_are_all_zero(tmp_path):
    root, _ = write_nus_wide(tmp_path)
    for file in (root / 'Groundtruth/AllLabels').iterdir():
        file.write_text(file.read_text().replace('1', '0'))
    with pytest.raises(UserError, match='none of its 12 images has a label of the classes'):
        NUSWide(str(root))


@pytest.mark.parametrize(
    ('name', 'absent'), [('coco', '1 of the 2.*: vest'), ('cub', '197 of the 200.*in all')]
)
def test_classes_that_never_occur_are_logged(builders, name, absent, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    builders[name]()
    logger.removeHandler(caplog.handler)
    message = next(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert re.search(absent.replace('.*:', ' classes never occur as a label:'), message)

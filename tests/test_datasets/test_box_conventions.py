"""Boxes in another layout than their file says, or beyond their pictures, are not cut off without a word."""

import json
import logging
import re

import numpy as np
import pytest
from fine_grained_fixtures import write_cub, write_dogs, write_nabirds
from mmengine.logging import MMLogger
from PIL import Image

from mmlattn.datasets import COCOMultiLabel, CUBBox, NABirds, StanfordDogs, VOCBox
from mmlattn.utils.errors import UserError

# Three boxes, x, y, width and height in a picture of 100 x 60 pixels, at the right and the bottom.
XYWH = np.array([(50, 10, 30, 20), (70, 35, 20, 25), (15, 30, 60, 30)], float)
XYXY = np.hstack((XYWH[:, :2], XYWH[:, :2] + XYWH[:, 2:]))
LAYOUTS = {
    'x, y, width, height': XYWH,
    'xmin, ymin, xmax, ymax': XYXY,
    'center x, center y, width, height': np.hstack((XYWH[:, :2] + XYWH[:, 2:] / 2, XYWH[:, 2:])),
    'y, x, height, width': XYWH[:, [1, 0, 3, 2]],
    'ymin, xmin, ymax, xmax': XYXY[:, [1, 0, 3, 2]],
}


@pytest.fixture
def warnings(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    logger.removeHandler(caplog.handler)


def coco(root, boxes):
    """A picture for each box."""
    for number in range(len(boxes)):
        Image.new('RGB', (100, 60)).save(root / f'{number}.png')
    path = root / 'boxes.json'
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=100, height=60) for i in range(len(boxes))],
        annotations=[dict(image_id=i, category_id=1, bbox=list(map(float, b))) for i, b in enumerate(boxes)],
        categories=[dict(id=1, name='thing')],
    )
    path.write_text(json.dumps(content))
    return COCOMultiLabel(str(path), data_prefix=str(root))


def voc(root, boxes):
    """A picture for each box, which counts from 1."""
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    for number, box in enumerate(boxes):
        Image.new('RGB', (100, 60)).save(root / f'JPEGImages/{number}.png')
        names = ('xmin', 'ymin', 'xmax', 'ymax')
        corners = ''.join(f'<{name}>{value}</{name}>' for name, value in zip(names, box, strict=True))
        (root / f'Annotations/{number}.xml').write_text(
            '<annotation><size><width>100</width><height>60</height></size><object><name>dog</name>'
            f'<bndbox>{corners}</bndbox></object></annotation>'
        )
    (root / 'ImageSets/Main/train.txt').write_text(''.join(f'{number}\n' for number in range(len(boxes))))
    return VOCBox(str(root), 'train')


def relative(data):
    return np.concatenate([data.get_data_info(i)['gt_boxes'] for i in range(len(data))])


def test_right_boxes_pass_without_a_word(tmp_path, warnings):
    np.testing.assert_allclose(relative(coco(tmp_path, XYWH)), XYXY / [100, 60, 100, 60], rtol=1e-6)
    shifted = XYXY + np.array([1, 1, 0, 0])
    np.testing.assert_allclose(relative(voc(tmp_path / 'voc', shifted)), XYXY / [100, 60, 100, 60], rtol=1e-6)
    assert not [message for message in warnings() if 'boxes reach' in message]


@pytest.mark.parametrize('layout', [name for name in LAYOUTS if name != 'x, y, width, height'])
def test_coco_in_another_layout(tmp_path, layout):
    with pytest.raises(UserError, match=r'boxes\.json: annotations\[\d\]: the box \[.*100 x 60') as error:
        coco(tmp_path, LAYOUTS[layout])
    assert f'none if the numbers are {layout}: write x, y, width, height' in str(error.value)


def test_voc_in_another_layout(tmp_path):
    with pytest.raises(
        UserError, match=r'\.xml: object 1 \(dog\): .*none if the numbers are ymin, xmin, ymax, xmax'
    ):
        voc(tmp_path / 'yx', LAYOUTS['ymin, xmin, ymax, xmax'])
    with pytest.raises(
        UserError, match=r'the box \(xmin, ymin, xmax, ymax\) runs from .*: min and max are swapped'
    ):
        voc(tmp_path / 'xywh', XYWH)


def test_fractions(tmp_path):
    with pytest.raises(
        UserError, match=r'annotations\[0\]: .* are fractions: write x, y, width, height in pixels'
    ):
        coco(tmp_path, XYWH / [100, 60, 100, 60])
    with pytest.raises(
        UserError, match=r'0\.xml: object 1 \(dog\): .* are fractions: write xmin, ymin, xmax, ymax'
    ):
        voc(tmp_path / 'voc', XYXY / [100, 60, 100, 60])
    whole = coco(tmp_path, [(0, 0, 1, 1)])  # one pixel
    np.testing.assert_allclose(relative(whole), [(0, 0, 1 / 100, 1 / 60)])


def test_a_box_that_sticks_out_is_cut_off_and_logged(tmp_path, warnings):
    data = coco(tmp_path, [*XYWH, (95, 10, 12, 20)])
    np.testing.assert_allclose(relative(data)[3], (0.95, 10 / 60, 1, 0.5))
    (message,) = warnings()
    assert 'boxes.json: 1 of 4 boxes reach beyond their pictures and are cut off there, first' in message
    assert 'annotations[3]: the box [95.0, 10.0, 12.0, 20.0] (x, y, width, height) in a picture of' in message
    coco(tmp_path, [*XYWH, (90, -1, 11, 20)])  # as far as others round or count from 1
    assert len(warnings()) == 1


def test_as_many_that_stick_out_as_do_not_are_cut_off_too(tmp_path, warnings):
    data = coco(tmp_path, [XYWH[0], (95, 10, 30, 20)])
    assert relative(data)[1].tolist() == pytest.approx([0.95, 10 / 60, 1, 0.5])
    assert '1 of 2 boxes reach beyond' in warnings()[0]


def test_a_box_outside_its_picture(tmp_path):
    with pytest.raises(UserError, match=r'annotations\[3\]: the box .* lies outside: mend or remove it'):
        coco(tmp_path, [*XYWH, (150, 10, 12, 20)])
    with pytest.raises(UserError, match=r'3\.xml: object 1 \(dog\): the box .* lies outside'):
        voc(tmp_path / 'voc', [*XYXY, (20, 70, 30, 90)])


def test_boxes_of_larger_pictures(tmp_path):
    """As when the pictures were made smaller after they were annotated."""
    with pytest.raises(
        UserError, match=r'2 of 3 boxes reach .*: write x, y, width, height, in pixels of the picture'
    ):
        coco(tmp_path, [(120, 10, 20, 20), (3, 90, 60, 100), (1, 2, 3, 4)])


@pytest.mark.parametrize(('write', 'cls'), [(write_cub, CUBBox), (write_nabirds, NABirds)])
def test_cub_and_nabirds(tmp_path, write, cls, warnings):
    options = dict(with_boxes=True) if cls is NABirds else {}
    root = write(tmp_path)
    file = root / 'bounding_boxes.txt'
    rows = [line.split() for line in file.read_text().splitlines()]

    def rewrite(change):
        lines = [' '.join([key, *map(str, change(*map(float, box)))]) for key, *box in rows]
        file.write_text('\n'.join(lines) + '\n')

    rewrite(lambda x, y, w, h: (x, y, x + w, y + h))
    with pytest.raises(
        UserError, match=r'bounding_boxes\.txt: .*if the numbers are xmin, ymin, xmax, ymax.*: write x'
    ):
        cls(str(root), **options)
    rewrite(lambda x, y, w, h: (x / 100, y / 100, w / 100, h / 100))
    with pytest.raises(UserError, match='are fractions: write x, y, width, height in pixels'):
        cls(str(root), **options)
    splits = dict(line.split() for line in (root / 'train_test_split.txt').read_text().splitlines())
    first = next(number for number, (key, *_) in enumerate(rows) if splits[key] == '1')
    rows[first][1:] = '5', '5', '900', '5'
    rewrite(lambda *box: box)
    data = cls(str(root), **options)
    found = [data[i] for i in range(len(data))] + [data[0]]
    assert max(item['gt_boxes'].max() for item in found) <= 1
    said = [message for message in warnings() if 'its box runs' in message]
    assert len(said) == 1 and 'and is cut off there' in said[0]


def test_stanford_dogs(tmp_path, warnings):
    root = write_dogs(tmp_path)
    files = sorted(path for path in (root / 'Annotation').rglob('n*_*') if path.is_file())
    texts = [path.read_text() for path in files]
    size = '<width>200</width><height>100</height>'
    for path, text in zip(files, texts, strict=True):
        text = re.sub('<width>.*</height>', size, re.sub('<object>.*</object>', '{}', text))
        box = '<bndbox><ymin>10</ymin><ymax>180</ymax><xmin>20</xmin><xmax>60</xmax></bndbox>'
        path.write_text(text.format(f'<object>{box}</object>').replace('%s', 'a'))
    with pytest.raises(
        UserError,
        match=r'object 1: .* in a picture of 200 x 100 .*if the numbers are .* ymin, xmin, ymax, xmax: w',
    ):
        StanfordDogs(str(root), with_boxes=True)
    for path, text in zip(files, texts, strict=True):
        path.write_text(text)
    files[0].write_text(re.sub('<xmax>[0-9]+', '<xmax>900', texts[0], count=1))
    assert StanfordDogs(str(root), with_boxes=True)[0]['gt_boxes'].max() == 1
    (message,) = [message for message in warnings() if 'boxes reach' in message]
    assert re.search(rf'train_list.mat: 1 of \d boxes .*{files[0].name}: object 1: the box', message)

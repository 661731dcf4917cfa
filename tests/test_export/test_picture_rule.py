"""The steps in a file's metadata make of a picture what the test pipeline makes of it."""

import runpy

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from tiny_run import TOOLS

from mmlattn.apis.pictures import PictureReader
from mmlattn.export.picture_rule import picture_rule

LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
EDGE = dict(type='ResizeEdge', scale=40)
PIPELINES = {
    'resize': [dict(type='Resize', scale=(50, 30))],
    'short edge, centre': [EDGE, dict(type='CenterCrop', crop_size=32)],
    'long edge of pillow, a wide crop': [
        EDGE | dict(edge='long', backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=(39, 99)),
    ],
    'width': [EDGE | dict(edge='width')],
    'height': [EDGE | dict(edge='height')],
    'nothing': [],
}


def reader(*transforms, load=LOAD, **dataset):
    pipeline = [*([load] if load else []), *transforms, PACK]
    data = dict(type='CustomDataset', pipeline=pipeline) | dataset
    return PictureReader(Config(dict(test_dataloader=dict(dataset=data))))


def rule_of(found):
    return picture_rule(found.loader, found.transforms.transforms, found.side)


@pytest.mark.parametrize('name', PIPELINES)
def test_the_example_prepares_pictures_to_the_bit(coco_root, tmp_path, name):
    """Pixels of photographs, upright and lying, as OpenCV resizes them; turned as their file says."""
    found = reader(*PIPELINES[name])
    steps, problem = rule_of(found)
    assert problem is None and len(steps) == len(PIPELINES[name])
    given = dict(channels=3, normalised_in_graph=True, layout='nhwc')
    meta = dict(picture=dict(steps=steps, oriented_by_exif=True), input=given)
    prepare = runpy.run_path(str(TOOLS / 'deployment/predict_onnx.py'))['prepare']
    pictures = sorted((coco_root / 'train2017').iterdir())[:6]
    turned = Image.open(pictures[0])
    turned.getexif()[0x0112] = 6
    turned.save(tmp_path / 'turned.png', exif=turned.getexif())
    lying = Image.open(pictures[1]).resize((90, 61))
    lying.save(tmp_path / 'lying.png')
    for path in map(str, [*pictures, tmp_path / 'turned.png', tmp_path / 'lying.png']):
        np.testing.assert_array_equal(prepare(path, meta), found(path)['inputs'].permute(1, 2, 0).flip(2))


@pytest.mark.parametrize(
    ('made', 'says'),
    [
        (
            lambda: reader(dict(type='EfficientNetCenterCrop', crop_size=32)),
            'EfficientNetCenterCrop has no plain',
        ),
        (lambda: reader(dict(type='Resize', scale_factor=0.5)), 'Resize has no plain step'),
        (lambda: reader(dict(type='CenterCrop', crop_size=9, auto_pad=True)), 'CenterCrop has no plain step'),
        (lambda: reader(EDGE, load=LOAD | dict(to_float32=True)), 'to_float32'),
    ],
)
def test_what_has_no_steps(made, says):
    steps, problem = rule_of(made())
    assert steps is None and says in problem


def test_pictures_of_arrays_and_pictures_that_keep_their_shape():
    rule = rule_of(reader(load=None, type='CIFAR10'))
    assert rule.steps == [dict(do='resize', width=32, height=32, interpolation='area', backend='cv2')]
    (step,) = rule_of(reader(dict(type='Resize', scale=(30, 50), keep_ratio=True))).steps
    assert step == dict(do='resize_inside', long=50, short=30, interpolation='bilinear', backend='cv2')

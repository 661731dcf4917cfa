"""Pictures and arrays as the inferencer takes them, against the test loop of the same config."""

import io

import cv2
import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.apis import get_model
from PIL import Image

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.pictures import PictureReader
from mmlattn.utils.errors import UserError

rng = np.random.default_rng(0)
COLOR = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOR[..., 0]


def make_cfg(channels=3, files=True, folder='', **loader):
    """A small network; its scores depend on every pixel, and on what is above, beside or before it."""
    pipeline = [dict(type='LoadImageFromFile', **loader)] * files
    pipeline += [dict(type='Resize', scale=(16, 12)), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset' if files else 'CIFAR10', data_root=str(folder), pipeline=pipeline)
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='ResNet', depth=18, in_channels=channels, stem_channels=4, base_channels=4, norm_eval=True
                ),
                head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, lam=0.1),
            ),
            data_preprocessor=dict(mean=[127.5] * channels, std=[64.0] * channels, to_rgb=True),
            test_dataloader=dict(
                batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=False)
            ),
            test_evaluator=dict(type='Accuracy'),
            test_cfg=dict(),
        )
    )  # fmt: skip


def build(cfg, seed=0):
    torch.manual_seed(seed)
    model = get_model(cfg, device='cpu')
    model.init_weights()
    return model.eval()


def build_loader(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Runner.build_dataloader(dict(cfg.test_dataloader, collate_fn=dict(type='default_collate')))


def jpeg(folder, **exif):
    """Turned by its EXIF orientation."""
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(COLOR).save(folder / 'x.jpg', exif=tags)


def deep(folder):
    cv2.imwrite(str(folder / 'x.png'), rng.integers(0, 65536, (20, 30), dtype=np.uint16))


def cmyk(folder):
    Image.fromarray(rng.integers(0, 256, (20, 30, 4), dtype=np.uint8), 'CMYK').save(folder / 'x.jpg')


LOADERS = {
    'color': (jpeg, 3, {}),
    'grayscale': (jpeg, 1, dict(color_type='grayscale')),
    'unchanged 16 bit': (deep, 1, dict(color_type='unchanged')),
    'ignored EXIF': (jpeg, 3, dict(color_type='color_ignore_orientation')),
    'pillow on CMYK': (cmyk, 3, dict(imdecode_backend='pillow')),
    'float32': (jpeg, 3, dict(to_float32=True)),
    'backend_args': (jpeg, 3, dict(backend_args=dict(backend='local'))),
}


@pytest.mark.parametrize('name', LOADERS)
def test_scores_are_those_of_the_test_loop(tmp_path, name):
    draw, channels, options = LOADERS[name]
    folder = tmp_path / 'data' / 'a'
    folder.mkdir(parents=True)
    draw(folder)
    cfg = make_cfg(channels, folder=tmp_path / 'data', **options)
    model = build(cfg)
    loader = build_loader(cfg)
    with torch.no_grad():
        expected = [sample.pred_score.numpy() for batch in loader for sample in model.test_step(batch)]
    shown = tmp_path / 'shown'
    results = MultiLabelInferencer(model)(folder, with_evidence=True, show_dir=shown)
    assert len(results) == len(expected) == 1
    np.testing.assert_array_equal(results[0]['pred_scores'], expected[0])
    assert mmcv.imread(str(shown / 'x.png')).std() > 10


def test_arrays_are_what_the_loader_would_give(tmp_path):
    cv2.imwrite(str(tmp_path / 'color.png'), COLOR)
    cv2.imwrite(str(tmp_path / 'grey.png'), GREY)
    color = PictureReader(make_cfg())
    by_file = color.read(tmp_path / 'color.png')['img']
    for array in (COLOR, COLOR[::-1][::-1], Image.fromarray(COLOR[..., ::-1])):
        np.testing.assert_array_equal(color.read(array)['img'], by_file)
    by_file = color.read(tmp_path / 'grey.png')['img']
    for array in (GREY, GREY[..., None], Image.fromarray(GREY)):
        assert color.read(array)['img_shape'] == color.read(array)['ori_shape'] == (20, 30)
        np.testing.assert_array_equal(color.read(array)['img'], by_file)
    grey = PictureReader(make_cfg(1, color_type='grayscale', to_float32=True), 1)
    for array in (GREY, GREY[..., None]):
        found = grey.read(array)['img']
        np.testing.assert_array_equal(found, grey.read(tmp_path / 'grey.png')['img'])
        assert found.dtype == np.float32
    np.testing.assert_allclose(grey.read(COLOR)['img'], COLOR @ [0.114, 0.587, 0.299], atol=0.51)
    deep = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    np.testing.assert_array_equal(PictureReader(make_cfg(color_type='unchanged')).read(deep)['img'], deep)
    np.testing.assert_array_equal(color.shown(COLOR), COLOR[..., ::-1])
    np.testing.assert_array_equal(color.shown(GREY), GREY[..., None].repeat(3, axis=2))


def test_pil_images_are_turned_as_files_are(tmp_path):
    folder = tmp_path
    jpeg(folder)
    for options in ({}, dict(color_type='color_ignore_orientation')):
        reader = PictureReader(make_cfg(**options))
        by_file = reader.read(folder / 'x.jpg')
        with Image.open(io.BytesIO((folder / 'x.jpg').read_bytes())) as picture:
            by_pil = reader.read(picture)
        assert by_pil['ori_shape'] == by_file['ori_shape']
        np.testing.assert_allclose(by_pil['img'].astype(int), by_file['img'].astype(int), atol=3)


def test_pipelines_that_get_arrays_get_those_of_their_data_set(tmp_path):
    """CIFAR's are RGB, 32 pixels a side; the file and the array of it alike."""
    cv2.imwrite(str(tmp_path / 'x.png'), COLOR)
    reader = PictureReader(make_cfg(files=False))
    expected = mmcv.imresize(COLOR[..., ::-1], (32, 32), interpolation='area')
    for picture in (tmp_path / 'x.png', COLOR):
        found = reader.read(picture)
        np.testing.assert_array_equal(found['img'], expected)
        assert found['img_shape'] == (32, 32) and found['ori_shape'] == (20, 30)
    np.testing.assert_array_equal(reader.shown(COLOR), expected)


UNCLEAR = {
    'in [0, 1]': (COLOR / 255, r'float64: give \(array \* 255\)\.round'),
    'float': (COLOR.astype(np.float32), r'float32: give \(array\)\.round'),
    'bool': (GREY > 9, r'True and False'),
    '16 bit': (COLOR.astype(np.uint16), r"uint16.*color_type='unchanged'"),
    'int64': (COLOR.astype(np.int64), 'int64'),
    'four channels': (np.dstack([COLOR, GREY]), 'fourth channel'),
    'two channels': (COLOR[..., :2], r'shape is \(20, 30, 2\)'),
    'channels first': (COLOR.transpose(2, 0, 1), r'channels stand first.*transpose\(1, 2, 0\)'),
    'stack': (COLOR[None], r'stack: give list\(array\), 1 pictures'),
    'row': (GREY[0], r'shape is \(30,\)'),
    'nothing': (COLOR[:0], r'shape is \(0, 30, 3\)'),
    'tensor': (torch.zeros(3, 8, 8), 'tensors say neither order nor range'),
    'none': (None, 'expected a path, a URL, a numpy array'),
    'list': ([[COLOR]], 'expected a path, a URL, a numpy array'),
    'bytes': (b'\xff\xd8', 'expected a path'),
    'RGBA': (Image.new('RGBA', (4, 4)), r"mode RGBA is not taken: give picture\.convert\('RGB'\)"),
}


@pytest.fixture(scope='module')
def inferencer():
    return MultiLabelInferencer(build(make_cfg()))


@pytest.mark.parametrize('name', UNCLEAR)
def test_arrays_that_are_not_clear_are_refused(inferencer, name):
    picture, words = UNCLEAR[name]
    with pytest.raises(UserError, match=words):
        inferencer(picture)


def test_transparency_in_a_file_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / 'x.png'), np.dstack([COLOR, GREY]))
    with pytest.raises(UserError, match=r'x\.png has 4 channels.*takes 3'):
        MultiLabelInferencer(build(make_cfg(color_type='unchanged')))(tmp_path / 'x.png')


def test_folders_may_hold_other_things(inferencer, tmp_path):
    folder, empty = tmp_path / 'pictures', tmp_path / 'empty'
    (folder / 'sub.png').mkdir(parents=True)
    empty.mkdir()
    for name in ('Thumbs.db', '.DS_Store', '._a.png', '.hidden.jpg', 'labels.json', 'notes.txt'):
        (folder / name).write_text('no picture')
        (empty / name).write_text('no picture')
    for name in ('b.png', 'a.PNG'):
        cv2.imwrite(str(folder / name), COLOR)
    assert [result['name'] for result in inferencer(folder)] == ['a.PNG', 'b.png']
    assert len(inferencer([folder, COLOR, folder / 'b.png'])) == 4
    assert len(inferencer(folder.glob('[ab].*'))) == 2
    with pytest.raises(UserError, match='empty has no pictures; looked for'):
        inferencer(empty)
    assert inferencer([], show_dir=tmp_path / 'none') == []
    for name, words in {
        'none.png': 'is not there',
        'zero.png': r'it is empty \(0 bytes\)',
        'html.png': 'it is a web page',
        'cut.png': 'damaged or cut off',
    }.items():
        content = dict(zero=b'', html=b'<html>', cut=(folder / 'b.png').read_bytes()[:40]).get(name[:-4])
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f'{name}.*{words}'):
            inferencer([folder / 'b.png', tmp_path / name])


def test_drawings_keep_their_folders_and_are_checked_first(inferencer, tmp_path):
    for name in ('a/0.jpg', 'b/0.jpg', 'b/0.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), COLOR)
    pictures = [tmp_path / 'a', tmp_path / 'b', COLOR, GREY]
    shown = tmp_path / 'missing' / 'shown'
    inferencer(pictures, show_dir=shown, batch_size=4)
    drawn = sorted(str(file.relative_to(shown)) for file in shown.rglob('*.png'))
    assert drawn == ['3.png', '4.png', 'a/0.png', 'b/0.jpg.png', 'b/0.png.png']

    def never(*args, **kwargs):
        raise AssertionError('predicted before the folder was checked')

    forward, inferencer.forward = inferencer.forward, never
    try:
        for folder, words in {
            shown: 'a/0.png and 4 more exists already; choose another show_dir',
            tmp_path / 'a' / '0.jpg' / 'x': '0.jpg is a file',
            '': 'must be the path of a folder',
        }.items():
            with pytest.raises(UserError, match=words):
                inferencer(pictures, show_dir=folder)
    finally:
        inferencer.forward = forward


def test_pictures_of_several_sizes_make_several_batches():
    cfg = make_cfg()
    cfg.test_dataloader.dataset.pipeline.pop(1)
    inferencer = MultiLabelInferencer(build(cfg))
    pictures = [COLOR, COLOR[:9], COLOR[::-1].copy()]
    alone = [inferencer(picture)[0]['pred_scores'] for picture in pictures]
    for result, scores in zip(inferencer(pictures, batch_size=3), alone, strict=True):
        np.testing.assert_allclose(result['pred_scores'], scores, atol=1e-6)
    with pytest.raises(UserError, match='batch_size must be a whole number of 1 or more, got 0'):
        inferencer(COLOR, batch_size=0)

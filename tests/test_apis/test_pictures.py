"""Pictures as a network sees them in tests."""

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS

from mmlattn.apis.pictures import PictureReader, dataset_items, file_items, shown_picture
from mmlattn.utils.errors import UserError

RED_ABOVE_BLUE = np.zeros((8, 12, 3), np.uint8)
RED_ABOVE_BLUE[:4, :, 0] = 255
RED_ABOVE_BLUE[4:, :, 2] = 255


@pytest.fixture
def folder(tmp_path):
    """Pictures in two class folders: red above blue, in RGB as written here."""
    for name in ('a/0', 'a/1', 'b/2', 'b/3', 'b/4'):
        mmcv.imwrite(RED_ABOVE_BLUE[..., ::-1], str(tmp_path / f'{name}.png'))
    return tmp_path


def make_cfg(folder, loads=True, **dataset):
    pipeline = [dict(type='LoadImageFromFile')] * loads + [
        dict(type='CenterCrop', crop_size=8),
        dict(type='PackInputs'),
    ]
    dataset = dict(dict(type='CustomDataset', data_root=str(folder)), **dataset, pipeline=pipeline)
    return Config(dict(test_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize('loads', [True, False])
def test_files_come_as_the_data_set_gives_them_and_are_shown_in_their_colours(folder, loads):
    """BGR from a pipeline that loads, RGB for one that gets arrays."""
    cfg = make_cfg(folder, loads)
    (item,) = file_items(cfg, [folder / 'a' / '0.png'])
    red = 2 if loads else 0
    assert item['inputs'].shape == (3, 8, 8)
    assert (item['inputs'][red, :4] == 255).all() and (item['inputs'][red, 4:] == 0).all()
    assert np.array_equal(
        shown_picture(item['inputs'], PictureReader(cfg), to_rgb=loads), RED_ABOVE_BLUE[:, :8]
    )


def test_one_channel(folder):
    cfg = make_cfg(folder, loads=False)
    (item,) = file_items(cfg, [folder / 'a' / '0.png'], channels=1)
    assert item['inputs'].shape == (1, 8, 8)
    grey = shown_picture(item['inputs'], PictureReader(cfg), to_rgb=False)
    assert grey.shape == (8, 8, 3) and np.ptp(grey, axis=-1).max() == 0 and grey[0, 0, 0] > grey[7, 0, 0] > 0


@pytest.mark.parametrize(('config', 'side', 'border'), [('fashion-mnist_32', 28, 2), ('cifar10_ran', 32, 0)])
def test_pictures_of_any_size_come_in_that_of_the_arrays(repo_root, tmp_path, config, side, border):
    """Whole and the same each time; one of the right size keeps every pixel."""
    cfg = Config.fromfile(repo_root / 'configs' / '_base_' / 'datasets' / f'{config}.py')
    channels = 3 - 2 * bool(border)
    own = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    mmcv.imwrite(own, str(tmp_path / 'own.png'))
    blocks = np.kron(own, np.ones((20, 30), np.uint8))
    mmcv.imwrite(blocks, str(tmp_path / 'large.png'))
    expected = torch.from_numpy(np.pad(own, border)).expand(channels, -1, -1)
    for file in ('own.png', 'large.png', 'large.png'):
        (item,) = file_items(cfg, [tmp_path / file], channels)
        assert torch.equal(item['inputs'], expected)
    # The pipeline by itself, as mmpretrain's inferencer and the data set call it.
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose([TRANSFORMS.build(transform) for transform in cfg.test_pipeline])
    for image in (own, blocks)[: 1 + bool(border)]:
        inputs = pipeline(dict(img=image, img_shape=image.shape, ori_shape=image.shape))['inputs']
        assert torch.equal(inputs, expected[:1])


def test_items_of_the_data_set(folder):
    cfg = make_cfg(folder)
    assert [item['data_samples'].gt_label.item() for item in dataset_items(cfg)] == [0, 0, 1, 1, 1]
    assert [item['data_samples'].gt_label.item() for item in dataset_items(cfg, [4, 0])] == [1, 0]
    paths = [item['data_samples'].img_path for item in dataset_items(cfg, limit=3)]
    assert [path[-5] for path in paths] == ['0', '2', '4'], 'evenly spread'
    direct = file_items(cfg, [folder / 'a' / '0.png'])[0]['inputs']
    assert torch.equal(next(iter(dataset_items(cfg)))['inputs'], direct)


def test_what_is_not_there_is_named(folder):
    cfg = make_cfg(folder)
    with pytest.raises(UserError, match=r'5 items.*\[7\]'):
        dataset_items(cfg, [0, 7])
    with pytest.raises(UserError, match=r'x\.png is not there'):
        file_items(cfg, [folder / 'x.png'])
    (folder / 'text.png').write_text('no picture')
    with pytest.raises(UserError, match=r'text\.png can not be read as a picture: its content is no picture'):
        file_items(cfg, [folder / 'text.png'])
    with pytest.raises(UserError, match=r'a is a folder: name the pictures'):
        file_items(cfg, [folder / 'a'])
    with pytest.raises(UserError, match='pipeline'):
        file_items(Config(dict(model=dict())), [])

"""The part of CIFAR-10 that comes as folders of JPEG files: colours, padding, wrong labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image

import mmlattn.register  # noqa: F401

CONFIGS = Path(__file__).parents[2] / 'configs'
MEAN = (125, 123, 114)


@pytest.fixture
def pictures(tmp_path):
    """Ten folders of four pictures, all of the mean colour, whose channels differ."""
    for split in ('train', 'test'):
        for name in range(10):
            folder = tmp_path / split / f'class{name}'
            folder.mkdir(parents=True)
            for i in range(4):
                Image.new('RGB', (32, 32), MEAN).save(folder / f'{i}.png')
    return tmp_path


def build(config, loader, root):
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    dataset = cfg[loader].dataset
    dataset.get('dataset', dataset).data_root = str(root)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocessor = MODELS.build(dict(cfg.data_preprocessor, type='ClsDataPreprocessor'))
        return DATASETS.build(dataset), preprocessor


@pytest.mark.parametrize('loader', ['train_dataloader', 'test_dataloader'])
def test_the_mean_colour_becomes_zero_and_so_does_padding(pictures, loader):
    """Fails when red and blue change places, in the picture or in what is padded."""
    dataset, preprocessor = build('ran_attention56-mini_cifar10-part', loader, pictures)
    for i in range(len(dataset)):
        item = dataset[i]
        batch = preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]))
        assert batch['inputs'].shape == (1, 3, 32, 32)
        torch.testing.assert_close(batch['inputs'], torch.zeros(1, 3, 32, 32), rtol=0, atol=0.02)


def test_wrong_labels_of_folders(pictures):
    """The same for both networks; test labels stay those of the folders."""
    noisy = [
        build(f'{network}_cifar10-part_noise30', 'train_dataloader', pictures)[0]
        for network in ('ran_attention56-mini', 'residual-mini-cost')
    ]
    true = np.repeat(np.arange(10), 4)
    for dataset in noisy:
        np.testing.assert_array_equal(dataset.clean_labels, true)
        np.testing.assert_array_equal(dataset.noisy_labels, noisy[0].noisy_labels)
        assert dataset.metainfo['classes'] == tuple(f'class{i}' for i in range(10))
    wrong = int((noisy[0].noisy_labels != true).sum())
    assert 4 <= wrong <= 20, 'of 40 at 30 %'
    items = [noisy[0][i]['data_samples'].gt_label.item() for i in range(40)]
    assert items == noisy[0].noisy_labels.tolist()
    test, _ = build('ran_attention56-mini_cifar10-part_noise30', 'test_dataloader', pictures)
    assert [test.get_data_info(i)['gt_label'] for i in range(40)] == true.tolist()

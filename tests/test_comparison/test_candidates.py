"""What is compared: heads by name, and configs that agree in all but the head."""

from types import SimpleNamespace

import pytest
import torch
from heads_fixtures import write_config
from mmengine.config import Config
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image

from mmlattn.comparison import head_configs
from mmlattn.comparison.candidates import (
    config_candidate,
    data_config,
    preset_candidate,
    read_configs,
    with_backbone,
)
from mmlattn.comparison.data import read_splits
from mmlattn.comparison.presets import HEADS
from mmlattn.comparison.training import model_config
from mmlattn.utils.configs import config_path
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json


@pytest.mark.parametrize('name', HEADS)
def test_every_head_by_name_learns_from_maps_and_says_where_it_looked(name):
    candidate = preset_candidate(name, 3, 64)
    model = MODELS.build(model_config(candidate, SimpleNamespace(targets=torch.zeros(6, 3))))
    model.init_weights()
    if name == 'cnn-rnn':
        assert [hook['type'] for hook in candidate.hooks] == ['mmlattn.LabelFrequencyHook']
        model.head.set_label_counts(torch.tensor([3, 2, 1]))
    batch = dict(inputs=torch.rand(2, 64, 4, 4), data_samples=[DataSample().set_gt_label([0, 2])] * 2)
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    assert torch.isfinite(model.parse_losses(losses)[0])
    (sample, _) = model.eval().test_step(batch)
    assert sample.pred_score.shape == (3,) and 0 <= sample.pred_score.min() <= sample.pred_score.max() <= 1
    assert 'attention_maps' in sample or 'region_scores' in sample or 'label_path' in sample


@pytest.mark.parametrize('name', ['csra', 'st-lstm', 'cnn-rnn'])
def test_heads_by_name_are_those_of_the_configs_on_photographs(name):
    path = config_path(f'{name}_efficientnet-lite0_coco18')
    ours, preset = config_candidate(path, Config.fromfile(path)), preset_candidate(name, 18, 1280)
    assert to_json(ours.head) == to_json(preset.head).replace('mmpretrain.', '')
    if name == 'st-lstm':
        assert ours.neck == preset.neck
    keys = ours.optim_wrapper['paramwise_cfg']['custom_keys'].items()
    learning = {key: value for key, value in keys if key != 'backbone'}
    assert learning == preset.optim_wrapper.get('paramwise_cfg', dict(custom_keys={}))['custom_keys']
    assert ours.optim_wrapper['optimizer'] == preset.optim_wrapper['optimizer']


@pytest.mark.parametrize('channels', [320, 1280, 2048])
def test_both_transformers_are_of_the_same_width(channels):
    heads = [preset_candidate(name, 3, channels).head for name in ('ml-decoder', 'q2l')]
    widths = [(head['embed_dims'], head['feedforward_dims']) for head in heads]
    assert widths[0] == widths[1] and (widths[0][0] < 768) == (channels <= 1280)


def write_variant(config, name, text):
    path = config.with_name(f'{name}.py')
    path.write_text(
        f"_base_ = './{config.name}'\nmodel = dict(head=dict(type='mmlattn.CSRAHead', num_classes=3, "
        f'in_channels=32, num_heads=1))\n{text}\n'
    )
    return str(path)


def test_configs_give_all_but_the_learning_rate(tmp_path):
    config = write_config(tmp_path)
    text = """
custom_hooks = [dict(type='mmlattn.ReproducibilityHook'), dict(type='mmlattn.LabelFrequencyHook')]
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=3, momentum=0.5),
    paramwise_cfg=dict(custom_keys={'head.weight': dict(lr_mult=0.1)}), clip_grad=dict(max_norm=1))
"""
    path = write_variant(config, 'mine', text)
    (cfg,) = read_configs([path], {'model.head.lam': 0.7}).values()
    found = config_candidate(path, cfg)
    assert found.name == 'mine' and found.head['lam'] == 0.7
    assert [hook['type'] for hook in found.hooks] == ['mmlattn.LabelFrequencyHook']
    wrapper = found.optimizer(0.25)
    assert wrapper['optimizer'] == dict(type='SGD', momentum=0.5, lr=0.25)
    assert (
        wrapper['clip_grad'] == dict(max_norm=1) and 'head.weight' in wrapper['paramwise_cfg']['custom_keys']
    )


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('model.update(backbone=dict(base_channels=8))', 'differ in model.backbone'),
        ('data_preprocessor = dict(mean=[0, 0, 0])', 'differ in data_preprocessor'),
        ("test_dataloader = dict(dataset=dict(ann_file='val.json'))", 'differ in their data sets'),
    ],
)
def test_configs_that_differ_in_more_than_the_head_are_refused(tmp_path, text, words):
    config = write_config(tmp_path)
    paths = [write_variant(config, 'one', ''), write_variant(config, 'two', text)]
    with pytest.raises(UserError, match=words):
        read_configs(paths)


def test_averaged_weights_are_refused(tmp_path):
    path = write_variant(write_config(tmp_path), 'ema', "custom_hooks = [dict(type='EMAHook')]")
    with pytest.raises(UserError, match='take EMAHook out of custom_hooks'):
        config_candidate(path, Config.fromfile(path))


def test_a_label_file_with_splits_is_data_of_its_own(tmp_path):
    lines = ['image,labels,split']
    for number, split in enumerate(['train'] * 3 + ['val'] * 2 + ['test'] * 2):
        Image.new('RGB', (20, 30)).save(tmp_path / f'{number}.png')
        lines.append(f'{number}.png,{"cat;dog" if number % 2 else "dog"},{split}')
    (tmp_path / 'labels.csv').write_text('\n'.join(lines))
    cfg = with_backbone(
        data_config(str(tmp_path / 'labels.csv'), side=32), str(write_config(tmp_path)), tmp_path
    )
    found = read_splits(cfg)
    assert {split: len(dataset) for split, dataset in found.items()} == dict(train=3, val=2, test=2)
    item = found['train'][1]
    assert item['inputs'].shape == (3, 32, 32) and item['data_samples'].gt_label.tolist() == [0, 1]
    assert cfg.data_preprocessor.mean == [127.5] * 3, 'colours are those of the backbone'


def test_a_config_stays_where_more_rates_change_the_choice(tmp_path, monkeypatch):
    def config_of_rate(comparison, cfg, candidate, lr):
        return Config(dict(optim_wrapper=dict(optimizer=dict(lr=lr))))

    monkeypatch.setattr(head_configs, 'head_config', config_of_rate)
    for rate in (0.1, 0.5, 0.1, 0.5):
        place, one = SimpleNamespace(folder=tmp_path), SimpleNamespace(name='csra')
        head_configs.write_configs(place, Config(), [one], [SimpleNamespace(rate=rate)])
    found = {path.name: Config.fromfile(path).optim_wrapper.optimizer.lr for path in tmp_path.rglob('*.py')}
    assert found == {'csra.py': 0.1, 'csra_lr0.5.py': 0.5}

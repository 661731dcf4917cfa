"""Proposed configs are short, load from anywhere, and train what they say they train."""

import re
import shutil
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from mmlattn.engine.hooks.racnn_schedule import PhaseSchedule
from mmlattn.projects.config_text import ProjectData, config_text
from mmlattn.projects.proposals import (
    BACKBONES,
    FEW_PICTURES,
    RACNN_EPOCHS,
    SYSTEMS,
    Wishes,
    prefix_in,
    propose,
    proposed_batch,
    proposed_size,
)
from mmlattn.utils.configs import config_path
from mmlattn.utils.errors import UserError

SMALL = np.full((6, 2), 300)


def written(folder, system='csra', num_train=48, **wishes):
    """A config with its text; two of three classes, pictures beside the folder."""
    proposal = propose(Wishes(system, **dict(backbone='resnet18', size=64) | wishes), num_train, SMALL)
    racnn = system == 'racnn'
    data = ProjectData(60, 3, '../photos', 1 if racnn else 2, system in ('csra', 'linear'), num_train != 600)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.py').write_text(config_text(data, proposal))
    return Config.fromfile(folder / 'config.py'), proposal


def built(cfg):
    cfg.model.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


def learn(cfg, labels):
    """One step; the names of the parameters that it changed."""
    torch.manual_seed(0)
    model = built(cfg)
    model.train()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    images = [torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8) for _ in labels]
    samples = [DataSample().set_gt_label(label) for label in labels]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


CASES = [
    (system, train, weights)
    for system in SYSTEMS
    for train, weights in ((48, None), (600, None), (48, 'none'))
]


@pytest.mark.parametrize(('system', 'num_train', 'weights'), CASES)
def test_configs_are_short_and_train_what_they_say(system, num_train, weights, tmp_path):
    cfg, proposal = written(tmp_path / 'a', system, num_train, weights=weights)
    text = (tmp_path / 'a' / 'config.py').read_text()
    assert len(text.splitlines()) <= 25 and not re.search('[^\n]{140}', text)
    cfg, other = written(tmp_path / 'a', system, num_train, weights=weights, epochs=30)
    assert len((tmp_path / 'a' / 'config.py').read_text().splitlines()) <= 25
    assert (cfg.train_cfg.max_epochs, other.epochs) == (30, 30)
    in_phases = system == 'racnn' and num_train > FEW_PICTURES
    assert proposal.epochs == (RACNN_EPOCHS if in_phases else 30)
    if system == 'racnn':
        assert cfg.model.localizer.type == f'mmlattn.{"APN" if in_phases else "ActivationLocalizer"}'
        assert sum(stage.length for stage in PhaseSchedule(**cfg.phases).stages) == 30
    changed = learn(cfg, [[0], [1]] if system == 'racnn' else [[0, 2], []])
    fixed = num_train <= FEW_PICTURES and weights is None and system != 'racnn'
    assert fixed == proposal.frozen == (not any(re.search(r'\bbackbone\.', name) for name in changed))
    assert any(name.startswith('head.') or '.head.' in name or 'heads' in name for name in changed)
    test = cfg.test_dataloader.dataset
    assert (test.split, test.test_mode) == ('val' if num_train == 600 else 'test', True)
    assert cfg.val_dataloader.dataset.pipeline == test.pipeline != cfg.train_dataloader.dataset.pipeline


def test_the_backbone_of_a_schedule_for_few_pictures_stays_at_rest_to_the_end(tmp_path):
    """Cosine annealing raises a rate of 0 to its floor, if that is above 0."""
    cfg, _ = written(tmp_path, backbone='mobilenet_v2')
    assert [schedule.get('eta_min', 0) for schedule in cfg.param_scheduler] == [0, 0]
    assert not any(name.startswith('backbone.') for name in learn(cfg, [[0], [1]]))


def test_a_project_may_be_moved(tmp_path):
    written(tmp_path / 'here' / 'mine')
    shutil.move(tmp_path / 'here', tmp_path / 'there')
    cfg = Config.fromfile(tmp_path / 'there' / 'mine' / 'config.py')
    home = str(tmp_path / 'there' / 'mine')
    assert cfg.work_dir == f'{home}/run' and cfg.train_dataloader.dataset.data_root == home
    assert cfg.train_dataloader.dataset.metainfo.classes == f'{home}/classes.txt'


@pytest.mark.parametrize('name', BACKBONES)
def test_backbones_have_their_width_and_known_weights(name):
    """The file of weights is one that mmpretrain lists for a network of that kind."""
    backbone = BACKBONES[name]
    network = MODELS.build(dict(backbone.settings, **backbone.frozen, type=f'mmpretrain.{backbone.kind}'))
    network.eval()  # returns nothing in some
    assert network(torch.rand(1, 3, 64, 64))[-1].shape == (1, backbone.channels, 2, 2)
    family, file = backbone.weights.split('/')
    configs = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
    entries = (configs / family / 'metafile.yml').read_text().split('  - Name: ')
    (entry,) = [entry for entry in entries if f'/{family}/{file}' in entry]
    config = Config.fromfile(configs / family / Path(re.search(r'Config: (\S+)', entry)[1]).name)
    assert config.model.backbone.type == backbone.kind
    told = {key: config.model.backbone.get(key) for key in ('depth', 'arch')}
    assert told == {key: backbone.settings.get(key) for key in told}
    # As the pictures of the base are normalised.
    assert config.data_preprocessor.mean == [123.675, 116.28, 103.53]


def test_a_file_of_weights_must_fit(tmp_path):
    network = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
    state = network.state_dict()
    torch.save(state, tmp_path / 'bare.pth')
    torch.save(
        dict(state_dict={f'backbone.{key}': value for key, value in state.items()}), tmp_path / 'model.pth'
    )
    assert prefix_in(tmp_path / 'bare.pth', BACKBONES['resnet18']) is None
    assert prefix_in(tmp_path / 'model.pth', BACKBONES['resnet18']) == 'backbone'
    for name, prefix in (('bare', None), ('model', 'backbone')):
        proposal = propose(Wishes(backbone='resnet18', weights=str(tmp_path / f'{name}.pth')), 48, SMALL)
        cfg = Config.fromstring(config_text(ProjectData(60, 3, '.', 1, False, True), proposal), '.py')
        assert cfg.model.backbone.init_cfg.get('prefix') == prefix
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(cfg.model)
        model.init_weights()
        assert torch.equal(model.backbone.conv1.weight, network.conv1.weight)
    with pytest.raises(UserError, match=r'lacks \d+ of the \d+ weights of ResNet, .* first layer1\.0\.conv1'):
        prefix_in(tmp_path / 'bare.pth', BACKBONES['resnet50'])


def test_what_configs_are_made_of_has_a_path():
    path = Path(config_path('_base_/schedules/adamw_cosine_30e'))
    assert path.is_file() and config_path('_base_/schedules/adamw_cosine_30e.py') == str(path)
    with pytest.raises(UserError, match='did you mean _base_/datasets/label_file'):
        config_path('_base_/datasets/labelfile')


def test_sizes_and_batches():
    assert proposed_size(np.array([[640, 480], [500, 448], [300, 200]]), 'csra') == 448
    assert proposed_size(np.array([[640, 400], [500, 448], [300, 200]]), 'csra') == 224
    assert proposed_size(SMALL, 'racnn') == 448
    assert [proposed_batch(number, 224) for number in (10, 100, 128, 256, 9999)] == [8, 8, 16, 32, 32]
    assert [proposed_batch(number, 448) for number in (10, 127, 128, 9999)] == [8, 8, 16, 16]


@pytest.mark.parametrize(
    ('wishes', 'said'),
    [
        (dict(system='csr'), "--system must be one of 'csra'"),
        (dict(backbone='vgg'), "--backbone must be one of 'resnet50'"),
        (dict(size=0), '--size must be a whole number of 32 or more'),
        (dict(epochs=2), '--epochs must be a whole number of 3 or more'),
        (dict(system='racnn', epochs=9), '--epochs of --system racnn must be a whole number of 10 or more'),
        (dict(batch_size=0), '--batch-size must be a whole number of 1 or more'),
    ],
    ids=str,
)
def test_wishes_are_checked(wishes, said):
    with pytest.raises(UserError) as caught:
        Wishes(**wishes)
    assert said in str(caught.value)

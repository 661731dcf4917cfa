"""Resumed equals uninterrupted, bit for bit; and what would break it is found out."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_run import BY_ITERATION, differing, final_state, write_tiny_run

from mmlattn.datasets import SeededDataset
from mmlattn.utils.checkpoint import use_safe_loading
from mmlattn.utils.launch import make_reproducible

_names = itertools.count()
WORKERS = {
    'no-worker': dict(num_workers=0),
    'workers': dict(num_workers=2),
    'persistent': dict(num_workers=2, persistent_workers=True),
}


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    torch.set_num_threads(1)
    use_safe_loading()
    return write_tiny_run(tmp_path_factory.mktemp('tiny'))


def build(config: Path, work_dir: Path, options: dict, reproducible: bool = True) -> Runner:
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'reproducibility{next(_names)}'
    if reproducible:
        make_reproducible(cfg)
    return Runner.from_cfg(cfg)


def resumed_difference(config, tmp_path, options, first, last, reproducible=True):
    """Names of tensors in which a run resumed from checkpoint ``first`` differs from one never stopped."""
    build(config, tmp_path / 'whole', options, reproducible).train()
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / first))
    build(config, tmp_path / 'rest', {**options, **resume}, reproducible).train()
    return differing(final_state(tmp_path / 'whole' / last), final_state(tmp_path / 'rest' / last))


@pytest.mark.parametrize('workers', WORKERS)
@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_resumed_run_equals_uninterrupted(config, tmp_path, unit, workers):
    options = {f'train_dataloader.{k}': v for k, v in WORKERS[workers].items()}
    names = ('epoch_1.pth', 'epoch_3.pth')
    if unit == 'iter':
        options |= BY_ITERATION
        names = ('iter_3.pth', 'iter_9.pth')
    assert resumed_difference(config, tmp_path, options, *names) == []


def test_resume_takes_up_a_seed_drawn_at_random(config, tmp_path):
    options = {'randomness': dict(seed=None)}
    assert resumed_difference(config, tmp_path, options, 'epoch_1.pth', 'epoch_3.pth') == []


def test_workers_do_not_matter_but_the_seed_does(config, tmp_path):
    for name, options in {
        'zero': {},
        'two': {'train_dataloader.num_workers': 2},
        'seed': {'randomness': dict(seed=8)},
    }.items():
        build(config, tmp_path / name, options).train()
    zero, two, seed = (final_state(tmp_path / name / 'epoch_3.pth') for name in ('zero', 'two', 'seed'))
    assert differing(zero, two) == []
    assert 'model.head.layers.1.fc.weight' in differing(zero, seed)


def test_stock_mmengine_differs(config, tmp_path):
    """So the comparison above can fail: without the wrapper and the hook a resume changes the weights."""
    assert resumed_difference(config, tmp_path, {}, 'epoch_1.pth', 'epoch_3.pth', reproducible=False)


def test_iteration_resume_loads_no_skipped_image(config, tmp_path, monkeypatch):
    build(config, tmp_path / 'whole', BY_ITERATION).train()
    loaded = []
    original = SeededDataset.__getitem__
    monkeypatch.setattr(
        SeededDataset,
        '__getitem__',
        lambda self, index: loaded.append(index.position) or original(self, index),
    )
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / 'iter_6.pth'))
    build(config, tmp_path / 'rest', {**BY_ITERATION, **resume}).train()
    assert loaded == list(range(6 * 4, 9 * 4))


def test_hook_without_wrapper_warns_once(config, tmp_path):
    hooks = [dict(type='mmlattn.ReproducibilityHook')]
    runner = build(config, tmp_path, {'custom_hooks': hooks, 'train_cfg.max_epochs': 2}, reproducible=False)
    runner.train()
    log = next((tmp_path / runner.timestamp).glob('*.log')).read_text()
    assert log.count('is not wrapped in mmlattn.SeededDataset') == 1


@pytest.mark.parametrize(
    'options, message',
    [
        ({'train_dataloader.sampler': dict(type='RepeatAugSampler')}, 'RepeatAugSampler'),
        ({**BY_ITERATION, 'train_dataloader.sampler': dict(type='RepeatAugSampler')}, 'StreamSampler'),
    ],
)
def test_sampler_that_would_repeat_augmentation_is_refused(config, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        build(config, tmp_path, options).train()


def test_checkpoint_inside_an_epoch_warns(config, tmp_path):
    options = {'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2)}
    build(config, tmp_path / 'whole', {**options, 'train_cfg.max_epochs': 1}).train()
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / 'iter_2.pth'))
    runner = build(config, tmp_path / 'rest', {**options, 'train_cfg.max_epochs': 1, **resume})
    runner.train()
    log = next((tmp_path / 'rest' / runner.timestamp).glob('*.log')).read_text()
    assert 'starts the epoch again' in log


def test_making_reproducible_twice_changes_nothing(config):
    cfg = Config.fromfile(config)
    make_reproducible(cfg)
    once = cfg.pretty_text
    make_reproducible(cfg)
    assert cfg.pretty_text == once

"""Resumed equals uninterrupted, bit for bit; and what would break it is found out.

Persistent workers, the default of the tools, are tested with those in ``test_tools``.
"""

import gc
import itertools
import signal
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_run import BY_ITERATION, differing, final_state, train_in_processes, write_tiny_run
from torch.utils.data import DataLoader

from mmlattn.engine.reproducibility import ReproducibilityHook, SeededDataset
from mmlattn.engine.reproducibility import hook as hook_module
from mmlattn.engine.reproducibility.seeding import STEP, seed_process
from mmlattn.engine.reproducibility.stream import _endlessly
from mmlattn.utils.checkpoint.loading import load_weights_only, use_safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import make_reproducible

_names = itertools.count()


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    torch.set_num_threads(1)
    use_safe_loading()
    return write_tiny_run(tmp_path_factory.mktemp('tiny'))


def build(config: Path, work_dir: Path, options: dict, reproducible: bool = True) -> Runner:
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(deepcopy(options))
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'reproducibility{next(_names)}'
    if reproducible:
        make_reproducible(cfg)
    return Runner.from_cfg(cfg)


def train(*args, **kwargs) -> str:
    """Train; return the log. The Runner is collected here, so that its workers end before others start."""
    runner = build(*args, **kwargs)
    runner.train()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    del runner
    gc.collect()
    return log


def resumed_difference(config, tmp_path, options, first, last, reproducible=True):
    """Names of tensors in which a run resumed from checkpoint ``first`` differs from one never stopped."""
    train(config, tmp_path / 'whole', options, reproducible)
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / first))
    train(config, tmp_path / 'rest', {**options, **resume}, reproducible)
    return differing(final_state(tmp_path / 'whole' / last), final_state(tmp_path / 'rest' / last))


@pytest.fixture(scope='module')
def whole_runs(config, tmp_path_factory):
    """Uninterrupted runs without workers, counted in epochs and in iterations."""
    folder = tmp_path_factory.mktemp('whole')
    train(config, folder / 'epoch', {})
    train(config, folder / 'iter', BY_ITERATION)
    return folder


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_resumed_run_equals_uninterrupted(config, tmp_path, whole_runs, unit, workers):
    first, last, options = (
        ('epoch_1', 'epoch_3', {}) if unit == 'epoch' else ('iter_3', 'iter_9', BY_ITERATION)
    )
    options = options | {'train_dataloader.num_workers': workers}
    resume = dict(resume=True, load_from=str(whole_runs / unit / f'{first}.pth'))
    train(config, tmp_path, {**options, **resume})
    whole, resumed = (final_state(folder / f'{last}.pth') for folder in (whole_runs / unit, tmp_path))
    assert differing(whole, resumed) == []


def test_resume_takes_up_a_seed_drawn_at_random(config, tmp_path):
    options = {'randomness': dict(seed=None)}
    assert resumed_difference(config, tmp_path, options, 'epoch_1.pth', 'epoch_3.pth') == []


def test_two_runs_are_equal_and_another_seed_is_not(config, tmp_path, whole_runs):
    whole = final_state(whole_runs / 'epoch' / 'epoch_3.pth')
    train(config, tmp_path / 'again', {'train_dataloader.num_workers': 2})
    assert differing(whole, final_state(tmp_path / 'again' / 'epoch_3.pth')) == []
    train(config, tmp_path / 'seed', {'randomness': dict(seed=8)})
    assert 'model.backbone.conv1.weight' in differing(whole, final_state(tmp_path / 'seed' / 'epoch_3.pth'))


def test_stock_mmengine_differs(config, tmp_path):
    """So the comparison above can fail: without the wrapper and the hook a resume changes the weights."""
    assert resumed_difference(config, tmp_path, {}, 'epoch_1.pth', 'epoch_3.pth', reproducible=False)


def test_iteration_resume_loads_no_skipped_image(config, tmp_path, whole_runs, monkeypatch):
    loaded = []
    original = SeededDataset.__getitem__
    monkeypatch.setattr(
        SeededDataset,
        '__getitem__',
        lambda self, index: loaded.append(index.position) or original(self, index),
    )
    resume = dict(resume=True, load_from=str(whole_runs / 'iter' / 'iter_6.pth'))
    train(config, tmp_path, {**BY_ITERATION, **resume})
    assert loaded == list(range(6 * 4, 9 * 4))


def test_hook_without_wrapper_warns_once(config, tmp_path):
    hooks = [dict(type='mmlattn.ReproducibilityHook')]
    log = train(config, tmp_path, {'custom_hooks': hooks, 'train_cfg.max_epochs': 2}, reproducible=False)
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
        train(config, tmp_path, options)


@pytest.mark.parametrize('workers', [0, 2])
def test_resumed_inside_an_epoch_equals_uninterrupted(config, tmp_path, workers):
    """In the middle of one, before its last step and at its end, whose hooks come first then."""
    options = {
        'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=1),
        'train_cfg.max_epochs': 2,
        'train_dataloader.num_workers': workers,
        'train_dataloader.persistent_workers': workers > 0,
    }
    log = train(config, tmp_path / 'whole', options)
    expected = final_state(tmp_path / 'whole' / 'iter_6.pth')
    for iteration in (1, 2, 3):
        resume = dict(resume=True, load_from=str(tmp_path / 'whole' / f'iter_{iteration}.pth'))
        log = train(config, tmp_path / str(iteration), {**options, **resume})
        assert 'starts again' not in log
        assert differing(expected, final_state(tmp_path / str(iteration) / 'iter_6.pth')) == []


def test_checkpoint_inside_an_epoch_of_another_length_warns(config, tmp_path):
    options = {'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=2)}
    train(config, tmp_path / 'whole', {**options, 'train_cfg.max_epochs': 1})
    resume = dict(resume=True, load_from=str(tmp_path / 'whole' / 'iter_2.pth'))
    log = train(config, tmp_path / 'rest', {**options, 'train_dataloader.batch_size': 11, **resume})
    assert 'the epoch starts again' in log


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_resumed_between_gathered_gradients_equals_uninterrupted(config, tmp_path, unit):
    """Two steps make an update, and each checkpoint lies after three."""
    first, last, options = (
        ('epoch_1.pth', 'epoch_3.pth', {}) if unit == 'epoch' else ('iter_3.pth', 'iter_9.pth', BY_ITERATION)
    )
    options = options | {'optim_wrapper.accumulative_counts': 2}
    assert resumed_difference(config, tmp_path, options, first, last) == []
    gathered = load_weights_only(str(tmp_path / 'whole' / first))['gathered_gradients']
    assert gathered.keys() == dict(build(config, tmp_path, options).model.named_parameters()).keys()
    assert 'gathered_gradients' not in load_weights_only(str(tmp_path / 'whole' / last))


@pytest.mark.dist
@pytest.mark.slow
def test_two_processes_resumed_between_gathered_gradients(config, tmp_path):
    """Each has gathered its own when the checkpoint is saved."""
    options = ('--cfg-options', 'optim_wrapper.accumulative_counts=2', 'train_dataloader.batch_size=2')
    train_in_processes(config, tmp_path / 'whole', *options)
    killer = config.with_name('killed.py')
    killer.write_text(
        "_base_ = ['tiny.py']\ncustom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration=4)]"
    )
    train_in_processes(killer, tmp_path / 'run', *options, expected=-signal.SIGKILL)
    gathered = load_weights_only(str(tmp_path / 'run' / 'epoch_1.pth'))['gathered_gradients']
    assert any(gradient.any() for gradient in gathered.values())
    train_in_processes(config, tmp_path / 'run', '--resume', *options)
    whole, resumed = (final_state(tmp_path / folder / 'epoch_3.pth') for folder in ('whole', 'run'))
    assert differing(whole, resumed) == []


@pytest.mark.dist
@pytest.mark.slow
def test_three_processes_add_in_the_same_order_after_a_resume(tmp_path):
    """Of two sums the order makes no difference."""
    config = write_tiny_run(tmp_path, num_images=26)
    killer = config.with_name('killed.py')
    killer.write_text(
        "_base_ = ['tiny.py']\ncustom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration=4)]"
    )
    wider = ('model.backbone.base_channels=16', 'model.head.in_channels=128', 'train_dataloader.batch_size=3')
    options = ('--cfg-options', *wider)
    train_in_processes(config, tmp_path / 'whole', *options, processes=3)
    train_in_processes(killer, tmp_path / 'run', *options, processes=3, expected=-signal.SIGKILL)
    train_in_processes(config, tmp_path / 'run', '--resume', *options, processes=3)
    whole, resumed = (final_state(tmp_path / folder / 'epoch_3.pth') for folder in ('whole', 'run'))
    assert differing(whole, resumed) == []


@pytest.mark.dist
@pytest.mark.slow
def test_two_processes_under_the_other_runner(config, tmp_path):
    """``FlexibleRunner`` of mmengine, with its own order of events and its own wrapper of the model."""
    flexible = config.with_name('flexible.py')
    flexible.write_text("_base_ = ['tiny.py']\nrunner_type = 'FlexibleRunner'\ncustom_hooks = []\n")
    killer = config.with_name('flexible_killed.py')
    killer.write_text("_base_ = ['flexible.py']\ncustom_hooks = [dict(type='KillHook', iteration=3)]")
    train_in_processes(flexible, tmp_path / 'whole')
    train_in_processes(killer, tmp_path / 'run', expected=-signal.SIGKILL)
    train_in_processes(flexible, tmp_path / 'run', '--resume')
    whole, resumed = (final_state(tmp_path / folder / 'epoch_3.pth') for folder in ('whole', 'run'))
    assert differing(whole, resumed) == []


class PlateauHook(Hook):
    """Weights that depend on each validation; ``seen`` are the iterations that were done by then."""

    seen = []

    def after_val_epoch(self, runner, metrics=None):
        self.seen.append(runner.iter)
        for parameter in runner.model.parameters():
            parameter.data.mul_(1 + 0.001 * metrics['accuracy/top1'])


HOOKS.register_module(module=PlateauHook)


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_a_validation_that_was_not_saved_is_done_again(config, tmp_path, unit):
    """Checkpoints are saved before the validation of their step, on which the rest of the training may depend."""
    options = {'custom_hooks': [dict(type='PlateauHook')], 'train_cfg.val_interval': 1}
    if unit == 'iter':
        options |= {**BY_ITERATION, 'custom_hooks': [dict(type='PlateauHook')]}
        options['train_cfg'] = {**BY_ITERATION['train_cfg'], 'val_interval': 3}
        del options['train_cfg.val_interval']
    first, last = ('epoch_1.pth', 'epoch_3.pth') if unit == 'epoch' else ('iter_3.pth', 'iter_9.pth')
    PlateauHook.seen.clear()
    assert resumed_difference(config, tmp_path, options, first, last) == []
    assert PlateauHook.seen == [3, 6, 9] * 2


def test_each_process_draws_its_own_numbers_in_every_step(monkeypatch):
    """Dropout and mixup of several processes that were seeded alike would be one, seen several times."""
    hook, draws = ReproducibilityHook(), []
    hook._seed = 3
    for iteration, rank in itertools.product(range(2), range(3)):
        monkeypatch.setattr(hook_module, 'get_rank', lambda rank=rank: rank)
        hook.before_train_iter(SimpleNamespace(iter=iteration), batch_idx=0)
        draws.append(torch.rand(()).item())
        seed_process(3, STEP, iteration, rank)
        assert torch.rand(()).item() == draws[-1]
    assert len(set(draws)) == 6


def test_making_reproducible_twice_changes_nothing(config):
    cfg = Config.fromfile(config)
    make_reproducible(cfg)
    once = cfg.pretty_text
    make_reproducible(cfg)
    assert cfg.pretty_text == once


def test_a_sampler_of_ones_own_learns_which_pass_it_is():
    data = list(range(5))
    sampler = DefaultSampler(data, shuffle=True, seed=3)
    passes = list(itertools.islice(_endlessly(DataLoader(data, batch_size=5, sampler=sampler)), 3))
    assert len({tuple(batch.tolist()) for batch in passes}) == 3
    with pytest.raises(UserError, match='gives no batch'):
        next(_endlessly(DataLoader(data, batch_size=6, drop_last=True)))

"""RA-CNN trained in phases: what learns when, through power cuts and in two processes."""

import itertools
import re
import signal
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from tiny_run import differing, final_state, run_tool, train_in_processes, write_tiny_run

from mmlattn.engine import RACNNPhaseHook
from mmlattn.engine.hooks.racnn_phase import RunningLoss
from mmlattn.models import ActivationLocalizer
from mmlattn.utils.checkpoint.loading import load_weights_only, use_safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import make_reproducible

# Stages of two epochs, of three steps each: one of every kind, and the final one.
SCHEDULE = dict(warmup=2, pretrain_apn=2, cls=2, apn=2, final=2, max_cycles=1, tolerance=None)
PHASES = ['cls', 'pretrain_apn', 'cls', 'apn', 'cls']

CONFIG = """
_base_ = ['{name}.py']
custom_imports = dict(imports=['tiny_run', 'test_racnn_phase'])
model = dict(
    _delete_=True, type='mmlattn.RACNN',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='StackedLinearClsHead', num_classes=3, in_channels=32, mid_channels=[8], dropout_rate=0.3,
        loss=dict(type='CrossEntropyLoss', use_soft=True)),
    localizer=dict(type='mmlattn.APN', in_channels=32, form='light', spatial=2),
    crop=dict(size=16), train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.01))
train_cfg = dict(max_epochs=10, val_interval=10)
custom_hooks = [
    dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL'),
    dict(type='mmlattn.RACNNPhaseHook', **{schedule}),
    dict(type='PhaseWatchHook')]
"""
HOOK = 'custom_hooks.1'


@HOOKS.register_module()
class PhaseWatchHook(Hook):
    """Take down in which phase a step was and what it changed: weights, buffers and what the optimizer remembers."""

    def before_train(self, runner):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._before = self._state(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = self._state(runner)
        changed = [k for k in state if k not in self._before or not torch.equal(state[k], self._before[k])]
        phase = runner.message_hub.get_scalar('train/phase').current()
        self.steps.append((('cls', 'pretrain_apn', 'apn')[int(phase)], changed))

    def after_train(self, runner):
        """One file for each process."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        stored = {}
        for hook in runner.hooks:
            if isinstance(hook, RACNNPhaseHook):
                hook.before_save_checkpoint(runner, stored)
        torch.save((weights, self.steps, stored), Path(runner.work_dir, f'watched{get_rank()}.pth'))

    @staticmethod
    def _state(runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = {name: value.clone() for name, value in model.state_dict().items()}
        memory = runner.optim_wrapper.optimizer.state
        for name, parameter in model.named_parameters():
            for key, value in memory.get(parameter, {}).items():
                state[f'{name}/{key}'] = torch.as_tensor(value).clone()
        return state


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    torch.set_num_threads(1)
    use_safe_loading()
    base = write_tiny_run(tmp_path_factory.mktemp('racnn'))
    path = base.with_name('racnn.py')
    path.write_text(CONFIG.format(name=base.stem, schedule=SCHEDULE))
    return path


_names = itertools.count()


def build(config, work_dir, options):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(deepcopy(options))
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'racnn_phase{next(_names)}'
    make_reproducible(cfg)
    return Runner.from_cfg(cfg)


def train(config, work_dir, options):
    """Train here; the log, and the steps watched."""
    runner = build(config, work_dir, options)
    runner.train()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    return log, torch.load(Path(work_dir, 'watched0.pth'), weights_only=True)[1]


def check_steps(steps, remembered):
    """What each step changed belongs to what learns in its phase, and nothing of that was left out."""
    for phase, changed in steps:
        assert changed
        assert {name.startswith('localizers.') for name in changed} == {phase != 'cls'}, phase
        kinds = {name.rpartition('.')[2] for name in changed}
        assert {'weight', 'bias', f'weight/{remembered}'} <= kinds
        assert ('running_mean' in kinds) == (phase == 'cls')
    for phase in ('cls', 'pretrain_apn', 'apn'):
        parts = {name.split('.')[1] for kind, changed in steps if kind == phase for name in changed}
        assert parts >= ({'0', '1', '2'} if phase == 'cls' else {'0', '1'})


# A single step in each stage.
SHORT = {f'{HOOK}.{name}': 1 for name in ('warmup', 'pretrain_apn', 'cls', 'apn', 'final')}
SHORT |= {'train_dataloader.num_batch_per_epoch': 1, 'default_hooks.checkpoint.interval': 10}
ADAMW = {'optim_wrapper.optimizer': dict(_delete_=True, type='AdamW', lr=0.01, weight_decay=0.1)}


@pytest.fixture(scope='module')
def by_epoch(config, tmp_path_factory):
    """A run of the whole schedule by epochs: (folder, log, steps)."""
    folder = tmp_path_factory.mktemp('epochs')
    return folder, *train(config, folder, {'default_hooks.checkpoint.interval': 10})


def test_only_what_learns_changes(by_epoch):
    """Bit for bit, through every switch, while momentum and weight decay of what rests wait."""
    _, log, steps = by_epoch
    assert [phase for phase, _ in steps] == [phase for phase in PHASES for _ in range(6)]
    check_steps(steps, 'momentum_buffer')
    assert 'Epoch 2: warm-up (cls) ends after 2 epochs, length reached, at a loss of ' in log
    assert 'next is pre-training (pretrain_apn).' in log
    assert 'Epoch 10: final (cls) ends' in log and 'the RA-CNN schedule is complete' in log
    assert 'Training ends after' not in log


def test_only_what_learns_changes_with_adamw(config, tmp_path):
    """And what the config froze rests in every phase."""
    frozen = {'model.scales': [dict(backbone=dict(frozen_stages=4)), {}, {}]}
    _, steps = train(config, tmp_path, SHORT | ADAMW | frozen)
    assert [phase for phase, _ in steps] == PHASES
    check_steps(steps, 'exp_avg_sq')
    changed = {name for _, names in steps for name in names}
    assert not any(name.startswith('nets.0.backbone.') for name in changed)
    assert any(name.startswith('nets.0.head.') for name in changed)


def test_killed_in_every_phase_and_resumed_equals_uninterrupted(config, tmp_path, by_epoch):
    """One run is killed in the second epoch of pre-training and of both halves of a cycle."""
    for iteration in (10, 16, 22):
        killer = config.with_name(f'killed{iteration}.py')
        hooks = f"custom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration={iteration})]"
        killer.write_text(f"_base_ = ['racnn.py']\n{hooks}")
        done = run_tool('train.py', killer, '--work-dir', tmp_path, '--resume', cwd=tmp_path)
        assert done.returncode == -signal.SIGKILL, done.stderr
    last = ('--cfg-options', 'default_hooks.checkpoint.interval=10')
    done = run_tool('train.py', config, '--work-dir', tmp_path, '--resume', *last, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'Now cycle 1 (apn), 1 done.' in done.stdout + done.stderr
    compare(by_epoch[0] / 'epoch_10.pth', tmp_path / 'epoch_10.pth')


def compare(expected, resumed):
    assert differing(final_state(expected), final_state(resumed)) == []
    states = [phase_state(path) for path in (expected, resumed)]
    assert str(states[0]) == str(states[1])  # NaN equals itself in print


def phase_state(path):
    return load_weights_only(str(path))['racnn_phase']


# By iterations, the stop rule looking every second one: 15 % of improvement is not to be had each time.
BY_ITERATION = {
    'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=40, val_interval=40),
    'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=4),
    'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
    'log_processor': dict(by_epoch=False, window_size=1),
    HOOK: dict(
        type='mmlattn.RACNNPhaseHook', by_epoch=False, warmup=6, pretrain_apn=6, cls=3, apn=3, final=2,
        max_cycles=3, tolerance=0.15, patience=2, beta=0.5,
    ),
}  # fmt: skip


@pytest.fixture(scope='module')
def by_iteration(config, tmp_path_factory):
    """A run by iterations that ends by itself, with a checkpoint every fourth: (folder, log, steps)."""
    folder = tmp_path_factory.mktemp('iterations')
    return folder, *train(config, folder, BY_ITERATION)


def test_the_stop_rule_in_a_run_and_its_early_end(by_iteration):
    """Every stage ends where the averages of its logged losses say so; the last step is saved and validated."""
    folder, log, steps = by_iteration
    losses = [float(loss) for loss in re.findall(r'Iter\(train\).* loss: (\S+)', log)]
    begin = 0
    for name, phase, length in (('warm-up', 'cls', 6), ('pre-training', 'pretrain_apn', 6)):
        reference, end = None, None
        for units in range(1, length + 1):
            average = sum(loss * 0.5 ** (units - i) for i, loss in enumerate(losses[begin : begin + units]))
            average /= sum(0.5 ** (units - i) for i in range(units))
            if units == length or (
                units % 2 == 0 and reference and reference - average < 0.15 * abs(reference)
            ):
                end = units
                break
            reference = average if units % 2 == 0 else reference
        assert f'{name} ({phase}) ends after {end} iterations' in log
        assert [kind for kind, _ in steps[begin : begin + end]] == [phase] * end
        begin += end
    assert len(steps) < 6 + 6 + 3 * (3 + 3) + 2 and 'loss settled' in log
    assert 'the RA-CNN schedule is complete, training ends.' in log
    assert phase_state(folder / f'iter_{len(steps)}.pth')['stage'] == 'complete'
    assert f'Iter(val) [{11 // 4 + 1}/{11 // 4 + 1}]' in log
    check_steps(steps, 'momentum_buffer')


def test_resumed_from_any_iteration_equals_uninterrupted(config, tmp_path, by_iteration):
    """At switches and between two looks of the stop rule."""
    folder, _, steps = by_iteration
    last = f'iter_{len(steps)}.pth'
    for iteration in range(4, len(steps), 8):
        options = dict(BY_ITERATION, resume=True, load_from=str(folder / f'iter_{iteration}.pth'))
        options['default_hooks.checkpoint'] = dict(type='CheckpointHook', by_epoch=False, interval=40)
        _, rest = train(config, tmp_path / str(iteration), options)
        assert [phase for phase, _ in rest] == [phase for phase, _ in steps[iteration:]]
        compare(folder / last, tmp_path / str(iteration) / last)


def test_a_complete_schedule_trains_no_more(config, tmp_path, by_iteration):
    folder, _, steps = by_iteration
    options = dict(BY_ITERATION, resume=True, load_from=str(folder / f'iter_{len(steps)}.pth'))
    log, rest = train(config, tmp_path, options)
    assert rest == [] and 'complete already' in log


@pytest.mark.dist
def test_two_processes_stay_in_step(config, tmp_path):
    """Through all switches, with gradients gathered over two steps."""
    work_dir = tmp_path / 'run'
    gathered = ('optim_wrapper.accumulative_counts=2', 'train_dataloader.batch_size=3')
    train_in_processes(config, work_dir, '--cfg-options', 'find_unused_parameters=True', *gathered)
    (first, steps, stored), (second, other, stored_too) = (
        torch.load(work_dir / f'watched{rank}.pth', weights_only=True) for rank in range(2)
    )
    assert stored['racnn_phase']['apn_loss'] > 0
    assert str(stored) == str(stored_too)  # of losses that differ
    assert [phase for phase, _ in steps] == [phase for phase, _ in other]
    assert [phase for phase, _ in steps[::4]] == PHASES
    for ours in (steps, other):
        check_steps(ours[1::2], 'momentum_buffer')  # every second step uses the gradients
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert value.isfinite().all(), name


@pytest.mark.dist
@pytest.mark.slow
def test_two_processes_killed_and_resumed_equal_uninterrupted(config, tmp_path):
    """Killed while networks train and while they rest, where attention proposals learn from their statistics."""
    options = ('--cfg-options', 'find_unused_parameters=True', 'train_dataloader.batch_size=3')
    train_in_processes(config, tmp_path / 'whole', *options)
    for iteration in (3, 7, 11, 15):
        killer = config.with_name(f'both_killed{iteration}.py')
        hooks = f"custom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration={iteration})]"
        killer.write_text(f"_base_ = ['racnn.py']\n{hooks}")
        train_in_processes(killer, tmp_path / 'run', '--resume', *options, expected=-signal.SIGKILL)
    train_in_processes(config, tmp_path / 'run', '--resume', *options)
    compare(tmp_path / 'whole' / 'epoch_10.pth', tmp_path / 'run' / 'epoch_10.pth')


def test_average_of_the_loss():
    """Against weights by hand; it survives being stored."""
    losses = [3.0, 1.0, 2.0, 5.0]
    running = RunningLoss(0.9)
    assert running.mean() != running.mean()
    for count, loss in enumerate(losses, start=1):
        running.update(torch.tensor(loss, requires_grad=True))
        weights = [0.9 ** (count - i) for i in range(1, count + 1)]
        expected = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert running.mean() == pytest.approx(expected, rel=1e-6)
        again = RunningLoss(0.9)
        again.restore(running.total, running.steps)
        assert again.mean() == running.mean()


@pytest.fixture(scope='module')
def runners(config, tmp_path_factory):
    """Two that are ready to train, by epochs of three steps and by iterations."""
    runners = {}
    for name, options in dict(epochs={}, iterations=BY_ITERATION).items():
        runner = runners[name] = build(config, tmp_path_factory.mktemp(name), options)
        assert runner.train_loop
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    return runners


STEPS = {key: value for key, value in BY_ITERATION[HOOK].items() if key != 'type'}
REFUSED = {
    'epochs in a loop of iterations': ('iterations', {}, 1, 'trains by iterations: set by_epoch=False'),
    'iterations in a loop of epochs': ('epochs', STEPS, 1, 'trains by epochs: set by_epoch=True'),
    'gradients over epochs': ('epochs', {}, 2, r'3 iterations of an epoch are no .*=2.*: set train\S+num_batch'),
    'gradients over stages': ('iterations', STEPS, 2, r'the 3 iterations of cycle 1 \(cls\) are no multiple'),
    'gradients between looks': ('iterations', STEPS | dict(final=3), 3, 'the 2 iterations of patience'),
}  # fmt: skip


@pytest.mark.parametrize(('loop', 'options', 'window', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_in_phases_is_refused(runners, loop, options, window, message, monkeypatch):
    runner = runners[loop]
    wrapper = OptimWrapper(runner.optim_wrapper.optimizer, accumulative_counts=window)
    monkeypatch.setattr(runner, 'optim_wrapper', wrapper)
    with pytest.raises(UserError, match=message):
        RACNNPhaseHook(**options).before_train(runner)
    assert runner.model.phase == 'joint'


def test_models_without_phases_are_refused(runners, monkeypatch):
    runner = runners['epochs']
    model = deepcopy(runner.model)
    model.localizers = torch.nn.ModuleList(ActivationLocalizer() for _ in range(2))
    monkeypatch.setattr(runner, 'model', model)
    with pytest.raises(UserError, match='set pretrain_apn=0 and apn=0'):
        RACNNPhaseHook().before_train(runner)
    monkeypatch.setattr(runner, 'model', model.nets[0])
    with pytest.raises(UserError, match=r"ImageClassifier: set model\.type='mmlattn"):
        RACNNPhaseHook().before_train(runner)


def test_ddp_must_look_for_what_rests(runners, monkeypatch, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/meeting', rank=0, world_size=1
    )
    try:
        runner = runners['epochs']
        monkeypatch.setattr(runner, 'model', MMDistributedDataParallel(deepcopy(runner.model)))
        with pytest.raises(UserError, match='find_unused_parameters=True: set it in the config'):
            RACNNPhaseHook().before_train(runner)
    finally:
        torch.distributed.destroy_process_group()


def test_the_parameterless_localizer_trains_without_its_phases(config, tmp_path):
    options = {
        'model.localizer': 'activation',
        'phases.pretrain_apn': 0,
        'phases.apn': 0,
        'train_cfg.max_epochs': 1,
    }
    log, steps = train(config, tmp_path, options)
    assert [phase for phase, _ in steps] == ['cls'] * 3
    assert (
        'Training ends after 1 epochs, but the RA-CNN schedule may take 6: warm-up (cls) is cut short, '
        'cycle 1 (cls) is not reached, final (cls) is not reached' in log
    )
    assert 'set train_cfg.max_epochs=6' in log


def test_a_checkpoint_of_another_schedule_is_refused_on_resume():
    stored, resuming = {}, SimpleNamespace(_resume=True, cfg=Config())
    RACNNPhaseHook(**STEPS).before_save_checkpoint(None, stored)
    for options, message in {
        'lengths': (
            STEPS | dict(apn=4),
            r'\(apn\) 3.* but this one is .*\(apn\) 4.* begin the schedule anew',
        ),
        'units': (STEPS | dict(by_epoch=True), 'counts iterations, but the hook counts epochs'),
    }.values():
        with pytest.raises(UserError, match=message):
            RACNNPhaseHook(**options).after_load_checkpoint(resuming, stored)
    with pytest.raises(UserError, match='not trained with RACNNPhaseHook'):
        RACNNPhaseHook().after_load_checkpoint(resuming, {})


@pytest.mark.parametrize('loading_first', [False, True])
def test_the_schedule_stands_where_it_stood_in_whatever_order_a_runner_calls(loading_first):
    """``FlexibleRunner`` of mmengine loads before ``before_run``."""
    runner, stored = SimpleNamespace(_resume=True, cfg=Config(dict(phases=dict(warmup=1)))), {}
    saving = RACNNPhaseHook(**STEPS)
    saving.before_run(runner)
    assert saving.schedule.advance(lambda: 1.0)
    saving.before_save_checkpoint(runner, stored)
    hook = RACNNPhaseHook(**STEPS)
    calls = [hook.before_run, lambda runner: hook.after_load_checkpoint(runner, stored)]
    for call in reversed(calls) if loading_first else calls:
        call(runner)
    assert hook.schedule.stage == saving.schedule.stage != RACNNPhaseHook(**STEPS).schedule.stage


def test_weights_of_another_run_begin_the_schedule_anew(config, tmp_path, by_iteration):
    folder, _, steps = by_iteration
    options = dict(BY_ITERATION, load_from=str(folder / f'iter_{len(steps)}.pth')) | {
        'train_cfg.max_iters': 1
    }
    log, steps = train(config, tmp_path, options | {f'{HOOK}.apn': 4})
    assert [phase for phase, _ in steps] == ['cls'] and 'Load checkpoint' in log


@pytest.mark.parametrize('beta', [1.0, -0.1, 'much'])
def test_wrong_arguments_are_refused(beta):
    with pytest.raises(ValueError, match='beta'):
        RACNNPhaseHook(beta=beta)


def test_phases_of_the_config_have_the_last_word():
    """By name, where the arguments of the hook lie in a list; whatever is not there stays."""
    hook = RACNNPhaseHook(**SCHEDULE)
    hook.before_run(SimpleNamespace(cfg=Config(dict(phases=dict(apn=7, warmup=0)))))
    assert [stage.length for stage in hook.schedule.stages] == [2, 2, 7, 2]
    assert hook.schedule.tolerance is None
    hook.before_run(SimpleNamespace(cfg=Config()))
    assert [stage.length for stage in hook.schedule.stages] == [2] * 5
    for wrong in (dict(apm=0), dict(apn=-1)):
        with pytest.raises(UserError, match=next(iter(wrong))):
            hook.before_run(SimpleNamespace(cfg=Config(dict(phases=wrong))))

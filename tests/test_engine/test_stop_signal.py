"""SIGTERM, Ctrl-C, and processes that die: what is kept, what is said, and with which status a run ends."""

import os
import re
import signal
import time

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from tiny_run import (
    differing,
    final_state,
    run_tool,
    train_in_processes,
)

from mmlattn.utils.errors import UserError

pytestmark = pytest.mark.slow


@HOOKS.register_module()
class SendHook(Hook):
    """Send a signal to this process, or its loader's workers, within a step, in one of the processes."""

    def __init__(self, signal, iteration, rank=0, workers=False):
        self.signal, self.iteration, self.rank, self.workers = signal, iteration, rank, workers

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != self.iteration or get_rank() != self.rank:
            return
        loader = runner.train_dataloader
        workers = [worker.pid for worker in loader._iterator._workers] if self.workers else []
        # As to a whole process group: workers first.
        for pid in workers:
            os.kill(pid, self.signal)
        if self.signal != signal.SIGKILL:
            os.kill(os.getpid(), self.signal)


@HOOKS.register_module()
class FailHook(Hook):
    """Fail in one of the processes, while the others wait for it."""

    def __init__(self, rank, user_error=True):
        self.rank, self.user_error = rank, user_error

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2 and get_rank() == self.rank:
            raise (UserError if self.user_error else KeyError)(f'rank {self.rank} met something')


def with_hook(config, name, more='', **hook):
    """A config beside ``config`` with one more hook."""
    path = config.with_name(f'{name}.py')
    path.write_text(
        f"_base_ = ['{config.name}']\n"
        "custom_imports = dict(imports=['tiny_run', 'test_stop_signal'])\n"
        f'custom_hooks = [*_base_.custom_hooks, dict({hook})]\n{more}'
    )
    return path


ITERATIONS = 'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=9, val_interval=4)\n'
WORKERS = 'train_dataloader = dict(num_workers=2)\n'


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_sigterm_finishes_the_step_saves_and_resumes_bit_for_bit(config, tmp_path, unit):
    """Sent to the program and its workers: inside an epoch, and where a validation is due."""
    more = WORKERS + ("default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))\n")
    if unit == 'iter':
        more = ITERATIONS + more.replace('dict(save', 'dict(by_epoch=False, interval=9, save')
    iteration = 4 if unit == 'epoch' else 3
    whole = with_hook(config, f'whole_{unit}', more, type='SendHook', signal=15, iteration=-1)
    told = with_hook(
        config, f'told_{unit}', more, type='SendHook', signal=15, iteration=iteration, workers=True
    )
    for folder in ('whole', 'run'):
        (tmp_path / folder).mkdir()
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'whole', cwd=tmp_path / 'whole')
    assert done.returncode == 0, done.stderr
    done = run_tool('train.py', told, '--work-dir', tmp_path / 'run', cwd=tmp_path / 'run')
    assert done.returncode == 143, done.stderr
    assert 'Traceback' not in done.stderr
    saved = tmp_path / 'run' / 'interrupted.pth'
    assert f'stopped after iteration {iteration + 1}; {saved} is saved' in done.stdout + done.stderr
    meta = torch.load(saved, weights_only=False)['meta']
    assert (meta['epoch'], meta['iter']) == (iteration // 3 if unit == 'epoch' else 0, iteration + 1)
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'run', '--resume', cwd=tmp_path / 'run')
    assert done.returncode == 0, done.stderr
    last = f'{unit}_{3 if unit == "epoch" else 9}.pth'
    assert differing(*(final_state(tmp_path / folder / last) for folder in ('whole', 'run'))) == []
    best = [sorted(path.name for path in (tmp_path / folder).glob('best*')) for folder in ('whole', 'run')]
    assert best[0] == best[1] != []


@pytest.mark.dist
def test_sigterm_to_one_of_two_processes_stops_both_after_the_same_step(config, tmp_path):
    whole = with_hook(config, 'both_whole', type='SendHook', signal=15, iteration=-1)
    told = with_hook(config, 'both_told', type='SendHook', signal=15, iteration=2, rank=1)
    train_in_processes(whole, tmp_path / 'whole')
    train_in_processes(told, tmp_path / 'run', expected=143)
    assert torch.load(tmp_path / 'run' / 'interrupted.pth', weights_only=False)['meta']['iter'] == 3
    train_in_processes(whole, tmp_path / 'run', '--resume')
    assert differing(*(final_state(tmp_path / name / 'epoch_3.pth') for name in ('whole', 'run'))) == []


def test_ctrl_c_says_in_one_line_what_is_kept(config, tmp_path):
    # What starts the tests in the background has them ignore SIGINT, and so their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt_and_read(config, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt_and_read(config, tmp_path):
    for iteration, kept in (
        (1, f'{tmp_path} has no checkpoint yet'),
        (4, f'{tmp_path / "epoch_1.pth"} is kept, go on with --resume'),
    ):
        path = with_hook(config, f'int{iteration}', WORKERS, type='SendHook', signal=2, iteration=iteration)
        done = run_tool('train.py', path, '--work-dir', tmp_path, cwd=tmp_path)
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1] == f'interrupted; {kept}'
        assert 'Traceback' not in done.stderr + done.stdout


@pytest.mark.dist
@pytest.mark.parametrize('user_error', [True, False])
@pytest.mark.parametrize('rank', [0, 1])
def test_failure_of_one_process_ends_both_and_is_said_once(config, tmp_path, rank, user_error):
    path = with_hook(config, f'fail{rank}{user_error}', type='FailHook', rank=rank, user_error=user_error)
    train_in_processes(path, tmp_path / 'run', expected=1)
    failed, other = ((tmp_path / f'rank{number}' / 'stderr.txt') for number in (rank, 1 - rank))
    assert f'rank {rank} met something' in failed.read_text().splitlines()[-1]
    assert ('Traceback' in failed.read_text()) == (not user_error)
    assert 'Traceback' not in other.read_text() and 'error:' not in other.read_text()
    assert abs(failed.stat().st_mtime - time.time()) < 15


def test_a_dead_loader_worker_is_named_in_one_line(config, tmp_path):
    path = with_hook(config, 'dead', WORKERS, type='SendHook', signal=9, iteration=1, workers=True)
    done = run_tool('train.py', path, '--work-dir', tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    # Before it may stand what torch's report of the same death met in the middle of Python's logging.
    pattern = r'error: a worker of a data loader is gone: DataLoader worker \(pid.* \d+\) .*num_workers'
    assert re.match(pattern, done.stderr.splitlines()[-1])

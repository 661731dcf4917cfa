"""A run that is killed at any moment of saving keeps a whole checkpoint, and resumes as if nothing had been."""

import multiprocessing
import os
import shutil
import signal
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from tiny_run import differing, final_state, run_tool

from mmlattn.engine.hooks.safe_checkpoint import SafeCheckpointHook, WholeFileBackend, _RemovesLast
from mmlattn.utils.launch.resume import newest_checkpoint

SAVING = ('default_hooks.checkpoint.max_keep_ckpts=1', 'train_cfg.val_interval=1')
BEST = ('default_hooks.checkpoint.save_best=accuracy/top1',)


def train(config, work_dir, *options, resume=False):
    args = [
        config,
        '--work-dir',
        work_dir,
        *(['--resume'] if resume else []),
        '--cfg-options',
        *SAVING,
        *options,
    ]
    work_dir.mkdir(exist_ok=True)
    done = run_tool('train.py', *args, cwd=work_dir)
    assert done.returncode == 0, done.stderr
    return done


def train_watched(config, work_dir, at_event):
    """Train in a process that calls ``at_event(n)`` each time before it touches a file of checkpoints, from 0 on"""

    def watched_run():
        count, busy = 0, False

        def watch(event, args):
            nonlocal count, busy
            touched = event in ('open', 'os.rename', 'os.remove', 'os.rmdir')
            if touched and not busy and _of_checkpoints(args[0]):
                busy = True
                at_event(count)
                count, busy = count + 1, False

        sys.addaudithook(watch)
        import tiny_run

        args = (config, '--work-dir', work_dir, '--cfg-options', *SAVING, *BEST)
        tiny_run._main('train.py', args, work_dir, [work_dir / 'stdout.txt', work_dir / 'stderr.txt'])

    work_dir.mkdir()
    torch.set_num_threads(1)
    process = multiprocessing.get_context('fork').Process(target=watched_run)
    process.start()
    process.join(300)
    assert process.exitcode in (0, -signal.SIGKILL), (work_dir / 'stderr.txt').read_text()


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
    """The run that nobody kills."""
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(config, folder, *BEST)
    keep = folder.parent / 'all'
    train(config, keep, *BEST, 'default_hooks.checkpoint.max_keep_ckpts=3')
    (keep / 'epoch_1.pth').rename(folder / '../epoch_1.pth')
    return folder


@pytest.mark.slow
def test_no_moment_of_saving_loses_the_run(config, tmp_path, whole):
    """Each opening, renaming and removal of a checkpoint: a copy of the folder is what SIGKILL would leave then."""
    run, moments, finished = (tmp_path / name for name in ('run', 'moments', 'finished'))
    train_watched(config, run, lambda count: shutil.copytree(run, moments / str(count)))
    assert _checkpoints(run) == _checkpoints(whole)
    run.rename(finished)
    first_saved, last = False, len(os.listdir(moments)) - 1
    assert last > 20
    for count in range(last + 1):
        shutil.copytree(moments / str(count), run)
        found = newest_checkpoint(str(run))
        first_saved = first_saved or found is not None
        assert not first_saved or found is not None, f'nothing is left after a kill at event {count}'
        if count % 7 == 3:
            train(config, run, *BEST, resume=True)
            assert differing(final_state(whole / 'epoch_3.pth'), final_state(run / 'epoch_3.pth')) == []
        shutil.rmtree(run)
    train_watched(config, run, lambda count: count == last // 2 and os.kill(os.getpid(), signal.SIGKILL))
    assert _checkpoints(run) == _checkpoints(moments / str(last // 2))


def _checkpoints(work_dir):
    return sorted(path.name for path in work_dir.glob('*.pth*'))


def test_resuming_takes_the_newest_whole_file_and_says_so(config, tmp_path, whole):
    work_dir = tmp_path / 'run'
    train(config, work_dir, 'default_hooks.checkpoint.max_keep_ckpts=3')
    pointer, last = work_dir / 'last_checkpoint', work_dir / 'epoch_3.pth'
    data = bytearray(last.read_bytes())
    for damaged in (data[: len(data) // 2], data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]):
        last.write_bytes(damaged)
        assert newest_checkpoint(str(work_dir)) == str(work_dir / 'epoch_2.pth')
    done = train(config, work_dir, 'default_hooks.checkpoint.max_keep_ckpts=3', resume=True)
    assert (
        f'resuming from {work_dir / "epoch_2.pth"}' in done.stderr
        and 'epoch_3.pth is missing or damaged' in done.stderr
    )
    assert differing(final_state(whole / 'epoch_3.pth'), final_state(last)) == []
    pointer.unlink()
    assert newest_checkpoint(str(work_dir)) == str(last)
    assert newest_checkpoint(str(tmp_path)) is None


def test_a_folder_that_was_moved_or_copied_is_resumed_from_its_own_files(tmp_path, capsys):
    run, copy, elsewhere = (tmp_path / name for name in ('run', 'copy', 'checkpoints'))
    for folder in (run, elsewhere):
        folder.mkdir()
        torch.save({}, folder / 'epoch_1.pth')
    (run / 'last_checkpoint').write_text(str(run / 'epoch_1.pth'))
    shutil.copytree(run, copy)
    assert newest_checkpoint(str(run)) == str(run / 'epoch_1.pth') and not capsys.readouterr().err
    assert newest_checkpoint(str(copy)) == str(copy / 'epoch_1.pth')
    assert f'not from {run / "epoch_1.pth"}' in capsys.readouterr().err
    # A checkpoint folder of its own, as default_hooks.checkpoint.out_dir makes it.
    (copy / 'epoch_1.pth').unlink()
    (copy / 'last_checkpoint').write_text(str(elsewhere / 'epoch_1.pth'))
    assert newest_checkpoint(str(copy)) == str(elsewhere / 'epoch_1.pth')


def test_a_checkpoint_cannot_have_other_files_removed(config, tmp_path, whole):
    """What a foreign file calls the best checkpoint, or the steps that are kept, is no order to remove."""
    valuable = tmp_path / 'valuable.pth'
    valuable.write_text('mine')
    foreign = torch.load(whole.parent / 'epoch_1.pth', weights_only=False)
    info = foreign['message_hub']['runtime_info']
    info['best_ckpt'], info['keep_ckpt_ids'] = str(valuable), ['../../valuable', 1, 2]
    info['best_score'] = -1.0
    torch.save(foreign, tmp_path / 'foreign.pth')
    run = tmp_path / 'run'
    run.mkdir()
    args = [config, '--work-dir', run, '--resume', tmp_path / 'foreign.pth', '--cfg-options', *SAVING, *BEST]
    done = run_tool('train.py', *args, cwd=run)
    assert done.returncode == 0, done.stderr
    assert valuable.read_text() == 'mine'


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / 'a.pth'
    backend = WholeFileBackend()
    backend.put(b'old', target)

    def fail(*args):
        raise OSError('the disk is full')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='full'):
        backend.put(b'new', target)
    assert target.read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


def test_of_what_a_checkpoint_names_for_removal_only_the_runs_own_is_kept(tmp_path):
    own, hub = f'{tmp_path}/run/best_a.pth', MessageHub.get_instance('names_for_removal')
    hub.update_info('best_ckpt', own)
    others = ['best_a.pth', 'run/../best_a.pth', 'run/epoch_1.pth', 'run/config.py', 'run/sub/best_a.pth']
    for number, foreign in enumerate([*(f'{tmp_path}/{other}' for other in others), 7]):
        hub.update_info(f'best_ckpt_{number}', foreign)
    hub.update_info('keep_ckpt_ids', ['/../../best_a', 1, True, 2.0, 2])
    runner = SimpleNamespace(message_hub=hub, work_dir=f'{tmp_path}/run')
    SafeCheckpointHook()._forget_foreign_files(runner)
    assert hub.runtime_info == dict(best_ckpt=own, keep_ckpt_ids=[1, 2])


@pytest.mark.parametrize('fails', [False, True])
def test_what_is_to_go_goes_last_and_never_what_the_run_still_names(tmp_path, fails):
    """A best checkpoint with the name of the one before is the new one by then; a failed saving removes nothing."""
    names = ('old', 'last', 'best', 'best_of_two')
    paths = {name: tmp_path / f'{name}.pth' for name in names}
    for path in paths.values():
        path.write_text('weights')
    hook = SafeCheckpointHook()
    hook.file_backend, hook.last_ckpt = WholeFileBackend(), str(paths['last'])
    hook.best_ckpt_path, hook.best_ckpt_path_dict = str(paths['best']), dict(other=str(paths['best_of_two']))
    with suppress(OSError), _RemovesLast(hook):
        for path in paths.values():
            hook.file_backend.remove(str(path))
        assert all(path.exists() for path in paths.values())
        if fails:
            raise OSError('the disk is full')
    assert type(hook.file_backend) is WholeFileBackend
    assert [name for name in names if paths[name].exists()] == list(names if fails else names[1:])


def _of_checkpoints(path) -> bool:
    name = os.path.basename(str(path))
    return '.pth' in name or name == 'last_checkpoint'

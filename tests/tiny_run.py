"""A classification run of seconds, for tests of training: drawn pictures, a small ResNet, mixup, dropout, EMA."""

import gc
import importlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image

TOOLS = Path(__file__).parents[1] / 'tools'
#: What most tools import, the last two by way of mmengine when it writes down config and environment.
IMPORTED = (
    'mmlattn.engine', 'mmpretrain.models', 'mmpretrain.evaluation', 'mmpretrain.visualization',
    'yapf', 'setuptools',
)  # fmt: skip

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['tiny_run'])
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='StackedLinearClsHead', num_classes=3, in_channels=32, mid_channels=[16], dropout_rate=0.3,
        loss=dict(type='CrossEntropyLoss', use_soft=True)),
    train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
data_preprocessor = dict(num_classes=3, mean=[127.5] * 3, std=[127.5] * 3, to_onehot=True)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=32),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root={data!r}, pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=1), dict(type='SingleLabelMetric')]
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
param_scheduler = dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=6)
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1),
    visualization=dict(type='VisualizationHook', enable=False))
custom_hooks = [dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL')]
visualizer = dict(type='UniversalVisualizer')
randomness = dict(seed=7)
"""

# The same run counted in iterations: 9 of them, a checkpoint every 3rd.
BY_ITERATION = {
    'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=9, val_interval=9),
    'default_hooks.checkpoint': dict(type='CheckpointHook', by_epoch=False, interval=3),
    'train_dataloader.sampler': dict(type='InfiniteSampler', shuffle=True),
    'log_processor': dict(by_epoch=False),
}


def write_tiny_run(folder: Path, num_images: int = 11) -> Path:
    """Draw ``num_images`` pictures of three classes, a prime number by default, and write the config."""
    rng = np.random.default_rng(0)
    for i in range(num_images):
        path = folder / 'data' / 'abc'[i % 3] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    config = folder / 'tiny.py'
    config.write_text(CONFIG.replace('{data!r}', repr(str(folder / 'data'))))
    return config


@HOOKS.register_module()
class KillHook(Hook):
    """End the process as a power cut would, before the given iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Kill."""
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module()
class BugHook(Hook):
    """Fails as a mistake in the code would, in the second step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Raise."""
        if runner.iter == 1:
            raise RuntimeError('a bug')


@HOOKS.register_module()
class RankStateHook(Hook):
    """Write each process's own weights after the steps of each epoch, and at the end of training."""

    def after_train_epoch(self, runner):
        """Write, before anything is shared and saved."""
        torch.save(runner.model.state_dict(), Path(runner.work_dir, f'epoch_of_rank{get_rank()}.pth'))

    def after_train(self, runner):
        """Write."""
        torch.save(runner.model.state_dict(), Path(runner.work_dir, f'rank{get_rank()}.pth'))


class MarkWhenOpened:
    """Its pickle makes a file when it is opened by an unpickler that runs code."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, 'w')


def tool_environment(**extra: str) -> dict:
    """Environment in which a tool finds the checkout and this file."""
    tests = Path(__file__).parent
    paths = [str(tests.parent), str(tests), os.environ.get('PYTHONPATH', '')]
    environ = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths)), 'OMP_NUM_THREADS': '1'}
    return {**environ, 'PYTHON': sys.executable, **extra}


def free_port() -> str:
    """A port for the processes of a test; the usual one may be another run's."""
    with socket.create_server(('127.0.0.1', 0)) as server:
        return str(server.getsockname()[1])


def run_script(script: str, *args, cwd: Path, **extra: str) -> subprocess.CompletedProcess:
    """Run ``tools/<script>`` with bash; ``extra`` are environment variables."""
    command = ['bash', str(TOOLS / script), *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, env=tool_environment(**extra), capture_output=True, text=True, timeout=300
    )


def run_tool(tool: str | Path, *args, cwd: Path) -> subprocess.CompletedProcess:
    """Run ``tools/<tool>`` as the main program of a process forked from this one, which saves the imports.

    A tool of others is named by its absolute path.
    """
    _import_what_tools_need()
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    files = [Path(cwd, f'{stream}.txt') for stream in ('stdout', 'stderr')]
    process = multiprocessing.get_context('fork').Process(target=_main, args=(tool, args, cwd, files))
    process.start()
    process.join(300)
    return subprocess.CompletedProcess([tool, *args], process.exitcode, *(file.read_text() for file in files))


def _import_what_tools_need() -> None:
    for name in IMPORTED:
        importlib.import_module(name)


def _main(tool: str | Path, args: tuple, cwd: Path, files: list[Path]) -> None:
    # Each data set collects garbage: it need not look through all that pytest has imported.
    gc.freeze()
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    # pytest put objects of its own here.
    sys.stdout, sys.stderr = (open(n, 'w', buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    os.chdir(cwd)
    sys.argv = [str(tool), *map(str, args)]
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def final_state(path: Path) -> dict:
    """All tensors a checkpoint decides the future with: weights, EMA, momentum."""
    checkpoint = torch.load(path, weights_only=False)  # written by the test itself
    state = {f'model.{k}': v for k, v in checkpoint['state_dict'].items()}
    state |= {f'ema.{k}': v for k, v in checkpoint.get('ema_state_dict', {}).items()}
    for number, entry in checkpoint['optimizer']['state'].items():
        state |= {f'optimizer.{number}.{k}': v for k, v in entry.items() if torch.is_tensor(v)}
    return state


def differing(a: dict, b: dict) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def train_in_processes(config, work_dir, *flags, expected=0, processes=2):
    """As torch's launcher starts them; forked, which saves the imports (test_dist.py has dist_train.sh itself).

    ``flags`` are more of the tool's; all processes end with the status ``expected``.
    """
    _import_what_tools_need()
    torch.multiprocessing.start_processes(
        _train_one_rank,
        (config, work_dir, free_port(), flags, expected, processes),
        processes,
        start_method='fork',
    )


def _train_one_rank(rank, config, work_dir, port, flags, expected, processes):
    ranks = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({key: str(value) for key, value in ranks.items()})
    folder = work_dir.parent / f'rank{rank}'
    folder.mkdir(exist_ok=True)
    done = run_tool('train.py', config, '--launcher', 'pytorch', '--work-dir', work_dir, *flags, cwd=folder)
    assert done.returncode == expected, done.stderr

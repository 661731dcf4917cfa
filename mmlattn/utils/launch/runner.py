"""mmengine's Runner: its processes, and the mistakes of a config explained when it is built and in its first step."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .config import type_name
from .dump import keep_other_configs
from .explain import explain_config, keeping_interrupts
from .flags import PLACES
from .headlines import HeadlineRunner, show_headlines
from .stumbles import StepCounter, explain_stumble
from .together import ending_together


@contextmanager
def process_group(cfg: Config) -> Iterator[None]:
    """Join the other processes over gloo where there is no GPU; elsewhere the Runner does it.

    mmengine sets up processes for GPUs only, so on CPU both the group and a model wrapper without device ids
    must be there before the Runner. Settings of the user's own ``model_wrapper_cfg`` are kept.
    """
    if cfg.launcher == 'none':
        yield
        return
    _keep_order_of_sums(cfg)
    if get_device() != 'cpu':
        with ending_together():
            yield
        return
    os.environ.update({name: os.environ[source] for name, source in PLACES[cfg.launcher].items()})
    if cfg.launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']]
        os.environ['MASTER_ADDR'] = subprocess.check_output(command, text=True).split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**(cfg.get('model_wrapper_cfg') or wrapper), 'device_ids': None}
    strategy = cfg.get('strategy') or ConfigDict(type='DDPStrategy')
    if 'runner_type' in cfg and type_name(strategy) == 'DDPStrategy':
        # FlexibleRunner has its wrapper from there.
        wrapper = {**(strategy.get('model_wrapper') or cfg.model_wrapper_cfg), 'device_ids': None}
        cfg.strategy = ConfigDict({**strategy, 'model_wrapper': wrapper})
    elif type_name(strategy) == 'FSDPStrategy':
        wrapper = strategy.get('model_wrapper') or dict(type='MMFullyShardedDataParallel')
        cfg.strategy = ConfigDict({**strategy, 'model_wrapper': {**wrapper, 'device_id': 'cpu'}})
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=seconds))
    try:
        with ending_together():
            yield
    finally:
        torch.distributed.destroy_process_group()


def _keep_order_of_sums(cfg: Config) -> None:
    """Let three or more processes add their gradients in the same order after a resume as before it.

    After its first step torch's DDP lays gradients out anew, and where one lies decides who adds it first. A DDP that
    looks for unused parameters does not. It takes time, which is lost on GPUs that do not round alike anyway.
    """
    rounds_alike = get_device() == 'cpu' or cfg.get('randomness', {}).get('deterministic', False)
    if rounds_alike and int(os.environ[PLACES[cfg.launcher]['WORLD_SIZE']]) > 2:
        cfg.setdefault('find_unused_parameters', True)


@keeping_interrupts()
def build_runner(cfg: Config, *loops: str) -> Runner:
    """Build the Runner, or what ``runner_type`` names, and now, not later, ``loops`` with their data and metrics.

    Raises:
        UserError: If a setting of the config does not work.
    """
    # On GPUs the processes have not met yet.
    if int(os.environ.get(PLACES.get(cfg.get('launcher'), {}).get('RANK', 'RANK'), 0)) == 0:
        keep_other_configs(cfg, training='train_loop' in loops)
    if 'runner_type' in cfg:
        # FlexibleRunner cannot do without them, though it has defaults.
        cfg.setdefault('env_cfg', ConfigDict())
        cfg.setdefault('randomness', ConfigDict(seed=None))
    with explain_config():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else HeadlineRunner.from_cfg(cfg)
        show_headlines(runner.logger)
        for loop in loops:
            getattr(runner, loop)
    return runner


@keeping_interrupts()
def run(runner: Runner, action: str) -> dict[str, float] | torch.nn.Module:
    """``runner.train()`` or ``runner.test()``.

    Raises:
        UserError: For what a setting of the config makes it stumble over, as where layers do not fit together.
    """
    steps = StepCounter()
    runner.register_hook(steps, 'LOWEST')
    try:
        return getattr(runner, action)()
    except Exception as error:
        explained = explain_stumble(runner.model, steps, error)
        if explained is None or explained is error:
            raise
        raise explained from error

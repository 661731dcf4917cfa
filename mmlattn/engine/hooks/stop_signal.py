"""A training that ends well when its cluster says that time is over."""

import os
import signal
import threading
from functools import partial

import torch
import torch.distributed
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmlattn.registry import HOOKS

from .safe_checkpoint import SafeCheckpointHook

#: What a shell reports of a program that SIGTERM ended.
EXIT_STATUS = 128 + signal.SIGTERM


@HOOKS.register_module()
class StopSignalHook(Hook):
    """At SIGTERM finishes the step, saves ``interrupted.pth`` and ends the program with exit status 143.

    Clusters send the signal some time before they kill. It may reach each process at another step, or only some:
    all of them stop after the same one. A validation that has begun is finished first. ``tools/train.py`` adds this
    hook; the checkpoint is saved by ``SafeCheckpointHook``, and ``--resume`` finds it.
    """

    # After everything else in a step, saving included.
    priority = 'LOWEST'

    def before_train(self, runner) -> None:
        """Listen to the signal, here and in the workers of data loaders, which have not started yet."""
        self._signalled = False
        self._group = torch.distributed.new_group(backend='gloo') if get_world_size() > 1 else None
        self._handler = None
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._note)
        _shield_workers(runner.train_dataloader)
        if runner.val_loop is not None:
            _shield_workers(runner.val_loop.dataloader)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop here if any process was told to."""
        self._stop_where_told(runner, runner.iter + 1)

    def after_val_epoch(self, runner, metrics=None) -> None:
        """As after a step, where the validation is one of a training."""
        if getattr(self, '_handler', None) is not None:
            self._stop_where_told(runner, runner.iter)

    def after_train(self, runner) -> None:
        """Listen no more."""
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def _note(self, *_) -> None:
        self._signalled = True

    def _stop_where_told(self, runner, steps: int) -> None:
        told = torch.tensor(int(self._signalled))
        if self._group is not None:
            torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX, group=self._group)
        if not told:
            return
        text = f'SIGTERM: stopped after iteration {steps}'
        savers = [hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)]
        if savers:
            text += f'; {savers[0].save_interrupted(runner, steps)} is saved, go on with --resume'
        else:
            text += '; nothing is saved, since no SafeCheckpointHook is among the hooks'
        runner.logger.warning(text)
        raise SystemExit(EXIT_STATUS)


def _shield_workers(loader: DataLoader) -> None:
    """Let workers outlive a signal that reaches every process; the program itself ends them as ever."""
    if getattr(loader, 'num_workers', 0):
        loader.worker_init_fn = partial(_shield, loader.worker_init_fn)


def _shield(init, worker_id: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_program, args=(os.getppid(),), daemon=True).start()
    if init is not None:
        init(worker_id)


def _end_with_program(program: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != program:
        pass
    os._exit(0)

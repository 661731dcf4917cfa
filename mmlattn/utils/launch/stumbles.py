"""Where training or testing stumbled, and whether whoever wrote the config can put it right."""

import errno
import re
from multiprocessing.connection import wait

import torch
from mmcv.transforms import BaseTransform
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from mmlattn.utils.errors import UserError

from .messages import MISTAKES, causes, frames, one_line, said_in_worker

HINT = '(MMLATTN_TRACEBACK=1 before the command shows where in the code)'
# What can happen in any step, and is no mistake in the code.
_AT_ANY_TIME = r'Expected more than 1 value per channel|out of memory|No space left on device'

_DEAD_WORKER = r'DataLoader worker \(pid(\(s\))? [\d, ]+\) (is killed by signal|exited unexpectedly)'


class StepCounter(Hook):
    """Knows in which loop a run is (``mode``), which loops have taken a step and which have come to an end.

    Everything before the first step has the mode None.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.mode, self.stepped, self.ended = None, set(), set()

    def _before_epoch(self, runner, mode='train') -> None:
        self.mode = mode

    def _before_iter(self, runner, batch_idx, data_batch=None, mode='train') -> None:
        self.mode = mode

    def _after_iter(self, runner, batch_idx, data_batch=None, outputs=None, mode='train') -> None:
        self.stepped.add(mode)

    def _after_epoch(self, runner, mode='train') -> None:
        self.ended.add(mode)


def explain_stumble(model: torch.nn.Module, steps: StepCounter, error: Exception) -> UserError | None:
    """The error in words of the config; None for what happens later, which a traceback is better for.

    Explained are the building of what mmengine builds last, the first step of each loop, the first computation of
    metrics and what hooks do after it, and at any time what runs out: workers, memory, disk.
    """
    sent = said_in_worker(error)
    if sent and sent[0] == 'UserError':
        return UserError(sent[1])
    if isinstance(error, UserError):
        return error
    try:
        worker = _dead_worker(error)
    except RuntimeError as said:  # by torch, of the same worker
        worker = _dead_worker(said)
    if worker:
        return UserError(
            f'a worker of a data loader is gone: {worker}. Mostly memory runs out: set fewer num_workers or a '
            'smaller batch_size in its dataloader, or give /dev/shm more room'
        )
    when = _when(steps, error)
    if when is None or not isinstance(error, (*MISTAKES, OSError)):
        return None
    where = _failing_layer(model, error) or _failing_part(error) or ''
    return UserError(f'this config does not work {when}: {one_line(error, where)} {HINT}')


def _when(steps: StepCounter, error: Exception) -> str | None:
    for frame in frames(error):
        if frame.f_code.co_name == 'load_or_resume':
            return f'with the checkpoint {frame.f_locals["self"]._load_from}'
    if steps.mode is None:
        return 'before the first step'
    if steps.mode not in steps.stepped:
        return f'in the first step of the {steps.mode} loop'
    late = steps.mode != 'train' and steps.mode not in steps.ended
    if late and any(isinstance(place, (BaseMetric, Hook)) for place in _places(error)):
        return f'at the end of the first {steps.mode} loop'
    if re.search(_AT_ANY_TIME, str(error)) or getattr(error, 'errno', None) == errno.ENOSPC:
        return f'in a step of the {steps.mode} loop'
    return None


def _dead_worker(error: Exception) -> str | None:
    """How a worker of a data loader ended without a word of its own, if that is what stands behind an error."""
    # torch says so in the middle of anything, and libraries put errors of their own in its place.
    for cause in causes(error):
        if re.match(_DEAD_WORKER, str(cause)):
            return one_line(cause)
    for place in _places(error):
        workers = getattr(place, '_workers', ()) if isinstance(place, _BaseDataLoaderIter) else ()
        # The kernel closes what a dying process held a moment before it reports its death.
        patience = 5 if isinstance(error, (ConnectionError, EOFError)) else 0
        dying = wait([worker.sentinel for worker in workers], patience)
        for worker in workers:
            if worker.sentinel in dying:
                worker.join()
            if worker.exitcode:
                return f'DataLoader worker (pid {worker.pid}) ended with exit code {worker.exitcode}'
    return None


def _places(error: Exception) -> list[object]:
    """The objects in whose methods an error arose, the innermost last."""
    return [frame.f_locals.get('self') for frame in frames(error)]


def _failing_layer(model: torch.nn.Module, error: Exception) -> str | None:
    """The innermost layer in which an error arose: its name, and its class or, of a single layer, its settings."""
    if not isinstance(model, torch.nn.Module):
        # FlexibleRunner has a config there until its strategy has built the model.
        return None
    names = {id(module): name for name, module in model.named_modules()}
    for place in reversed(_places(error)):
        if names.get(id(place)):
            kind = type(place).__name__ if any(place.children()) else place
            return f'{names[id(place)]}: {kind}'
    return None


def _failing_part(error: Exception) -> str | None:
    """The innermost part of a config, other than a layer, in which an error arose."""
    parts = (BaseMetric, BaseTransform, Dataset, Hook, torch.optim.Optimizer)
    return next((type(p).__name__ for p in reversed(_places(error)) if isinstance(p, parts)), None)

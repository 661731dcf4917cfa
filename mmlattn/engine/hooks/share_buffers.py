"""Buffers, such as the statistics of BatchNorm, are the same in all processes wherever they are read or saved."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from torch import nn

from mmlattn.registry import HOOKS


@HOOKS.register_module()
class ShareBuffersHook(Hook):
    """Validates with the first process's buffers in all processes: they are what a checkpoint holds.

    In training each process gathers statistics of its own pictures. ``tools/train.py`` adds this hook where there
    are several processes.
    """

    # After EMA has chosen the weights.
    priority = 'VERY_LOW'

    def before_val_epoch(self, runner) -> None:
        """Share them."""
        share_buffers(runner.model)


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first, which alone are saved; a run that resumes has them everywhere."""
    for buffer in model.buffers():
        broadcast(buffer)

"""A run that has diverged ends."""

import math
from typing import NoReturn

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.nn import Parameter

from mmlattn.registry import HOOKS
from mmlattn.utils.arguments import check_whole
from mmlattn.utils.checkpoint.content import not_finite
from mmlattn.utils.errors import UserError

#: Steps in a row that a scaler of the loss may leave out, as it does where half precision overflows.
LEFT_OUT = 20


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Ends training at the first loss that is no finite number, and before a checkpoint of such weights is saved.

    With a scaled loss, as of ``AmpOptimWrapper``, a step of that kind changes no weight, so it takes 20 in a row.

    Args:
        in_a_row (int, optional): After how many such steps in a row training ends, scaled or not.
    """

    # Before weights are averaged or saved.
    priority = 'VERY_HIGH'

    def __init__(self, in_a_row: int | None = None) -> None:
        if in_a_row is not None:
            check_whole('in_a_row', in_a_row, 1)
        self._most, self._in_a_row = in_a_row, 0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Look at every loss of this step."""
        losses = {
            name: float(value.detach() if isinstance(value, Tensor) else value)
            for name, value in (outputs or {}).items()
            if 'loss' in name
        }
        wrong = [f'{name}={value}' for name, value in losses.items() if not math.isfinite(value)]
        self._in_a_row = self._in_a_row + 1 if wrong else 0
        most = self._most or (LEFT_OUT if _scales_losses(runner.optim_wrapper) else 1)
        if wrong and self._in_a_row >= most:
            _end(runner, runner.iter + 1, ', '.join(wrong))

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Look at the weights, which a step with a finite loss may have spoiled."""
        for name, weight in checkpoint['state_dict'].items():
            # A module may store other things beside tensors; those in shards can not be looked at.
            plain = type(weight) in (Tensor, Parameter)
            floating = plain and weight.is_floating_point() and weight.numel()
            problem = not_finite(weight) if floating else None
            if problem:
                _end(runner, runner.iter, f'{name} holds {problem}')


def _end(runner, iteration: int, what: str) -> NoReturn:
    rates = [rate for rates in runner.optim_wrapper.get_lr().values() for rate in rates]
    raise UserError(
        f'the model has diverged: in iteration {iteration} (epoch {runner.epoch + 1}) {what} at a learning rate of '
        f'{max(rates):g}, and training ends. Set a smaller optim_wrapper.optimizer.lr, a longer warm-up in '
        'param_scheduler, or optim_wrapper.clip_grad=dict(max_norm=1.0); in the first iteration look at '
        'data_preprocessor.std and at the loaded weights'
    )


def _scales_losses(wrapper: OptimWrapper) -> bool:
    """Whether steps that overflow are left out; bfloat16 on a CPU has a scaler that is switched off."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()

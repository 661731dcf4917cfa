"""Mixed precision where mmengine has none: on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import nn

from mmlattn.registry import OPTIM_WRAPPERS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

DTYPES = ('bfloat16', 'float16')


@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, on a CPU too.

    There bfloat16 is the default. It has the range of single precision, so its losses are not scaled; those of
    float16 are, as on a GPU. On every other device this is mmengine's.

    Args:
        loss_scale (str | float | dict): Of float16: 'dynamic', a fixed scale, or settings of torch's ``GradScaler``.
        dtype (str | torch.dtype, optional): 'bfloat16' or 'float16'; by default bfloat16 on a CPU, and that of the
            device elsewhere.
        **kwargs: Of ``AmpOptimWrapper``.

    Raises:
        UserError: For another ``dtype`` or ``loss_scale`` on a CPU.
    """

    def __init__(
        self,
        loss_scale: str | float | dict = 'dynamic',
        dtype: str | torch.dtype | None = None,
        **kwargs,
    ) -> None:
        self._on_cpu = get_device() == 'cpu'
        if not self._on_cpu:
            super().__init__(loss_scale, dtype, **kwargs)
            return
        # Past mmengine's own, which refuses a CPU.
        OptimWrapper.__init__(self, **kwargs)
        name = str(dtype or 'bfloat16').removeprefix('torch.')
        check_choice('optim_wrapper.dtype', name, DTYPES)
        self.cast_dtype = getattr(torch, name)
        fixed = isinstance(loss_scale, Real) and not isinstance(loss_scale, bool)
        if loss_scale != 'dynamic' and not fixed and not isinstance(loss_scale, dict):
            raise UserError(
                f"optim_wrapper.loss_scale must be 'dynamic', a number or a dict, got {loss_scale!r}"
            )
        self._scale_update_param = float(loss_scale) if fixed else None
        settings = (
            dict(init_scale=float(loss_scale)) if fixed else {} if loss_scale == 'dynamic' else loss_scale
        )
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=name == 'float16', **settings)

    def load_state_dict(self, state_dict: dict) -> None:
        """As usual; a run that did not scale its losses, or on another device, leaves no scale to take up."""
        if not state_dict.get('loss_scaler'):
            state_dict = {key: value for key, value in state_dict.items() if key != 'loss_scaler'}
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the losses in mixed precision."""
        if not self._on_cpu:
            with super().optim_context(model):
                yield
            return
        with OptimWrapper.optim_context(self, model), torch.autocast('cpu', self.cast_dtype):
            yield

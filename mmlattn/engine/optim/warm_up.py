"""Warm-up of the learning rate as the authors of CSRA have it."""

from mmengine.optim import LinearLR

from mmlattn.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmUpLR(LinearLR):
    """Lets the learning rate of iteration t be t / n of its own, from 0 on, and leaves it alone after n iterations.

    mmengine's ``LinearLR`` can't start at 0 and gets there an iteration earlier. No other scheduler may change the
    learning rate meanwhile.

    Args:
        optimizer (Optimizer | OptimWrapper): mmengine gives it.
        begin (int): The iteration, or epoch, of 0.
        end (int): That of the full learning rate.
        **kwargs: As for ``LinearLR``; ``by_epoch``, and ``convert_to_iter_based`` in a config, as ever.
    """

    def __init__(self, optimizer, *, end: int, begin: int = 0, **kwargs) -> None:
        super().__init__(optimizer, begin=begin, end=end + 1, **kwargs)

    def _get_value(self) -> list[float]:
        return [value * self.last_step / self.total_iters for value in self.base_values]

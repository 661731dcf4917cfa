"""Gradients that are gathered over several steps, where a checkpoint falls between these."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor

from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import without_wrapper


def gathered_gradients(runner) -> dict[str, Tensor]:
    """The gradients that wait for further steps, by the names of their parameters; empty after an update."""
    if not _gathers(runner.optim_wrapper):
        return {}
    named = without_wrapper(runner.model).named_parameters()
    return {name: weight.grad for name, weight in named if weight.grad is not None}


def restore_gradients(runner, gradients: dict[str, Tensor]) -> None:
    """Take up gradients from a checkpoint.

    Raises:
        UserError: If the model has no parameters of these names and shapes.
    """
    weights = dict(without_wrapper(runner.model).named_parameters())
    for name, gradient in gradients.items():
        if name not in weights or weights[name].shape != gradient.shape:
            raise UserError(
                f'the checkpoint holds a gradient for {name}, {tuple(gradient.shape)}, which this model lacks: '
                'resume with the model it was saved from, or set load_from and resume=False'
            )
        weights[name].grad = gradient.to(weights[name])


def average_gradients(runner) -> None:
    """Give all processes the mean of what each of them has gathered, so that one of them can save it.

    The update, which takes the mean of everything, stays the same but for rounding.
    """
    if get_world_size() == 1 or not _gathers(runner.optim_wrapper):
        return
    weights = [weight for weight in without_wrapper(runner.model).parameters() if weight.requires_grad]
    used = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.uint8)
    all_reduce(used, 'max')
    for weight, is_used in zip(weights, used.tolist(), strict=True):
        # What no process has used stays without a gradient, so that momentum and weight decay leave it alone.
        if is_used:
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            all_reduce(gradient, 'mean')
            weight.grad = gradient


def _gathers(wrapper) -> bool:
    window = getattr(wrapper, '_accumulative_counts', 1)
    return window > 1 and not wrapper.should_update()

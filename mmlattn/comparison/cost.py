"""Parameters, time and memory of a training step of what stands above the backbone."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from mmlattn.utils.timing import seconds

WARM_UP, REPEATS = 5, 20


class Cost(NamedTuple):
    """Of a head with its neck.

    Attributes:
        parameters (int): That learn.
        milliseconds (float): Time of a step on a batch of stored features: forward, backward, update. The shortest of
            several, for what else the machine does only adds to it.
        megabytes (float): What a step holds: weights, gradients, the two moments of AdamW, and what the forward pass
            keeps for the backward pass; the batch itself is among it where it is kept. In 10^6 bytes.
    """

    parameters: int
    milliseconds: float
    megabytes: float


def measure_cost(model: nn.Module, batch: dict, repeats: int = REPEATS) -> Cost:
    """Cost of a model on a batch as a data loader gives it, in single precision; the model stays as it is."""
    model = copy.deepcopy(model).train()
    learnt = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-9)

    def loss() -> torch.Tensor:
        data = model.data_preprocessor(batch, True)
        return model.parse_losses(model(**data, mode='loss'))[0]

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    device = learnt[0].device
    times = [seconds(step, device) for _ in range(WARM_UP + repeats)][WARM_UP:]
    weights = sum(value.numel() * value.element_size() for value in learnt)
    kept = _kept_bytes(loss, {value.untyped_storage().data_ptr() for value in learnt})
    return Cost(
        sum(value.numel() for value in learnt),
        1000 * min(times),
        (4 * weights + kept) / 1e6,
    )


def _kept_bytes(forward, weights: set[int]) -> int:
    """Bytes of what a forward pass keeps, each storage once, weights aside."""
    kept: dict[int, int] = {}
    holding = []  # a storage that is freed could leave its place to another one

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            holding.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(kept.values())

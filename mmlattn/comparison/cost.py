"""Parameters, time and memory of a training step of what stands above the backbone."""

import copy
from typing import NamedTuple

import torch
from torch import nn

from mmlattn.utils.memory import saved_bytes
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
    return Cost(
        sum(value.numel() for value in learnt),
        1000 * min(times),
        (4 * weights + saved_bytes(loss, learnt)) / 1e6,
    )

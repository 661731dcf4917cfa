"""The contract of every system: all of it learns, low precision comes close, two processes learn as one does."""

from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from contract_cases import CASES, Case
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

PROCESSES, STEPS = 2, 3


def loss_of_four(case: Case, model: nn.Module) -> Tensor:
    return case.loss(model, case.pictures(4), case.labels(0) + case.labels(1))


@pytest.mark.parametrize('name', CASES)
def test_every_parameter_gets_a_gradient(name):
    model = CASES[name].build().train()
    loss = loss_of_four(CASES[name], model)
    loss.backward()
    assert loss.isfinite()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.grad is None or (parameter.grad.isfinite().all() and parameter.grad.any()), key


@pytest.mark.parametrize('name', CASES)
def test_autocast_comes_close(name):
    """Scores are in single precision, gradients in the parameters' own type."""
    case = CASES[name]
    model, x = case.build().eval(), case.pictures(16)
    with torch.no_grad():
        exact = case.outputs(model, x)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            low = case.outputs(model, x)
    for ours, expected in zip(low, exact, strict=True):
        assert (ours - expected).norm() < 0.02 * expected.norm()
        assert ours.dtype == torch.float32 or not hasattr(model, 'loss')
        if not case.rounds:
            torch.testing.assert_close(ours, expected, rtol=0.05, atol=0.05)
    model.train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = loss_of_four(case, model)
    loss.backward()
    assert loss.isfinite()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all(), key


class Loss(nn.Module):
    """A model whose forward pass gives its loss, since that is what a wrapper for several processes calls."""

    def __init__(self, case: Case, model: nn.Module) -> None:
        super().__init__()
        self.case, self.model = case, model

    def forward(self, x: Tensor, labels: list[list[int]]) -> Tensor:
        return self.case.loss(self.model, x, labels)


def normalises_batches(model: nn.Module) -> bool:
    """Whether what a picture gets depends on those beside it, so that each process has statistics of its own."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def optimizer_of(case: Case, model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], case.learning_rate)


def batch(case: Case, rank: int, step: int) -> tuple[Tensor, list[list[int]]]:
    return case.pictures(2, seed=10 * step + rank).double(), case.labels(rank)


def train_wrapped(case: Case, rank: int) -> list[dict[str, Tensor]]:
    """Weights after the usual steps, then after as many in which rank 1 gets no labels at all."""
    model = case.build().double().train()
    if rank:
        # Ranks begin with different weights, which the wrapper must settle.
        with torch.no_grad():
            next(model.parameters()).add_(1)
    # It does not look for unused parameters, and complains of one in the second step.
    wrapped = DistributedDataParallel(
        Loss(case, model), broadcast_buffers=not normalises_batches(model), find_unused_parameters=False
    )
    optimizer, states = optimizer_of(case, model), []
    for without_labels in (False, True):
        for step in range(STEPS):
            x, labels = batch(case, rank, step)
            if without_labels and rank and not case.one_label:
                labels = [[], []]
            optimizer.zero_grad()
            wrapped(x, labels).backward()
            optimizer.step()
        states.append({key: value.clone() for key, value in model.state_dict().items()})
    return states


def train_one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=PROCESSES)
    states = {}
    for name, case in CASES.items():
        try:
            states[name] = train_wrapped(case, rank)
        except Exception as error:
            raise AssertionError(f'two processes cannot train {name}') from error
    torch.save(states, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def train_alone(case: Case) -> nn.Module:
    """One process on all pictures at once; where batches are normalised, by the average of both ranks' gradients."""
    model = case.build().double().train()
    optimizer = optimizer_of(case, model)
    for step in range(STEPS):
        batches = [batch(case, rank, step) for rank in range(PROCESSES)]
        optimizer.zero_grad()
        if normalises_batches(model):
            copies = [deepcopy(model) for _ in batches]
            for copy, (x, labels) in zip(copies, batches, strict=True):
                case.loss(copy, x, labels).backward()
            for parameter, *twins in zip(model.parameters(), *(c.parameters() for c in copies), strict=True):
                if parameter.requires_grad:
                    parameter.grad = sum(twin.grad for twin in twins) / PROCESSES
        else:
            (x0, labels0), (x1, labels1) = batches
            case.loss(model, torch.cat([x0, x1]), labels0 + labels1).backward()
        optimizer.step()
    return model


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """For each process, the weights of every case after the usual steps, then after those with one unlabelled."""
    folder = tmp_path_factory.mktemp('processes')
    torch.multiprocessing.start_processes(train_one_rank, (str(folder),), PROCESSES, start_method='fork')
    return [torch.load(folder / f'{rank}.pth', weights_only=True) for rank in range(PROCESSES)]


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize('name', CASES)
def test_two_processes_take_the_steps_of_one(ranks, name):
    """All that learns moves; a rank without any labels goes on with the other, in step."""
    case = CASES[name]
    (full, emptied), (full_too, emptied_too) = (states[name] for states in ranks)
    start, alone = case.build().double(), train_alone(case)
    learnt = {key for key, parameter in alone.named_parameters() if parameter.requires_grad}
    assert learnt == {key for key, value in start.named_parameters() if not torch.equal(value, full[key])}
    compared = dict(alone.named_parameters()) if normalises_batches(alone) else alone.state_dict()
    close = dict(rtol=1e-6, atol=1e-7) if case.rounds else dict(rtol=1e-9, atol=1e-11)
    for key, value in compared.items():
        torch.testing.assert_close(
            full[key], value.detach(), **close, msg=lambda text, key=key: f'{key}: {text}'
        )
        assert torch.equal(full[key], full_too[key]) and torch.equal(emptied[key], emptied_too[key]), key
        assert emptied[key].isfinite().all(), key
    assert any(not torch.equal(emptied[key], full[key]) for key in learnt)

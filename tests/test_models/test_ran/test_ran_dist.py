"""Data-parallel training of a Residual Attention Network, in two processes over gloo."""

from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mmlattn.models import ResidualAttentionNet

pytestmark = [pytest.mark.dist, pytest.mark.slow]

PROCESSES = 2
LEARNING_RATE = 0.01
CASES = [
    dict(out_indices=(0, 3), out_norm=True),
    dict(unit=dict(type='resnext', groups=2), learning='nal', frozen_stages=1, norm_eval=True, with_cp=True),
    dict(mask_skip='port', attention='spatial', mask_struct='conv', with_cp=True),
]


def batches(rank):
    torch.manual_seed(100 + rank)
    return torch.randn(2, 2, 3, 32, 32, dtype=torch.float64)


def loss_of(net, x):
    return sum(out.square().mean() for out in net(x))


def make(options):
    torch.manual_seed(0)
    return ResidualAttentionNet(dict(stem_channels=4, channels=(8, 8, 16, 16)), **options).double().train()


def train(rank, folder):
    """One process: two steps of every case; ranks begin with different weights, which the wrapper must settle."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=PROCESSES)
    states = []
    for options in CASES:
        net = make(options)
        if rank:
            with torch.no_grad():
                net.stem.conv.weight.add_(1)
        wrapped = DistributedDataParallel(net, find_unused_parameters=False, broadcast_buffers=False)
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], LEARNING_RATE)
        for x in batches(rank):
            optimizer.zero_grad()
            loss_of(wrapped, x).backward()
            optimizer.step()
        states.append(net.state_dict())
    torch.save(states, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def expected(options):
    """The same in one process: the average of both ranks' gradients, each with statistics of its own."""
    net = make(options)
    data = [batches(rank) for rank in range(PROCESSES)]
    for step in range(len(data[0])):
        copies = [deepcopy(net) for _ in data]
        for copy, x in zip(copies, data, strict=True):
            loss_of(copy, x[step]).backward()
        with torch.no_grad():
            for p, *twins in zip(net.parameters(), *(copy.parameters() for copy in copies), strict=True):
                if p.requires_grad:
                    p -= LEARNING_RATE * sum(twin.grad for twin in twins) / PROCESSES
    return dict(net.named_parameters())


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Without a search for unused parameters, of which a second step would complain."""
    torch.multiprocessing.spawn(train, (str(tmp_path),), PROCESSES)
    ranks = [torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(PROCESSES)]
    for options, *states in zip(CASES, *ranks, strict=True):
        start = dict(make(options).named_parameters())
        for name, parameter in expected(options).items():
            assert torch.equal(states[0][name], states[1][name]), name
            # Spatial attention is computed in single precision.
            torch.testing.assert_close(states[0][name], parameter.detach(), rtol=1e-6, atol=1e-7)
            assert torch.equal(parameter, start[name]) != parameter.requires_grad, name

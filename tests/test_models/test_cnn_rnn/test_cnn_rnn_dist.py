"""Data-parallel training of CNN-RNN, in two processes over gloo."""

import pytest
import torch
import torch.distributed as dist
from mmpretrain.structures import DataSample
from torch.nn.parallel import DistributedDataParallel

from mmlattn.models import CNNRNNHead

pytestmark = [pytest.mark.dist, pytest.mark.slow]

PROCESSES, STEPS, LEARNING_RATE = 2, 3, 0.1
CASES = {
    'paper': dict(),
    'attention': dict(decoder=dict(type='attention', hidden_dims=5), aux_bce=1.0),
    'aligned': dict(align='pla'),
    'any order': dict(align='multi', num_steps=3),
}


class Trainer(torch.nn.Module):
    def __init__(self, settings):
        super().__init__()
        torch.manual_seed(0)
        decoder = dict(type='joint', dropout=0.0) | settings.get('decoder', {}) | dict(dropout=0.0)
        self.head = CNNRNNHead(4, 6, label_freq=[4, 3, 2, 1], **(settings | dict(decoder=decoder)))

    def forward(self, x, labels):
        samples = [DataSample().set_gt_label(torch.tensor(label, dtype=torch.long)) for label in labels]
        return sum(self.head.loss((x,), samples).values())


def make(case):
    return Trainer(CASES[case]).double().train()


def batch(rank, step):
    """Both ranks have as many labels, so that every step weighs the same, as in one process on all of them."""
    torch.manual_seed(10 * step + rank)
    return torch.randn(2, 6, 2, 2, dtype=torch.float64), [[rank], [0, 2, 3]]


def train(rank, folder):
    """Ranks begin with different weights, which the wrapper must settle; then rank 1 gets no labels at all."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=PROCESSES)
    states = []
    for case in CASES:
        net = make(case)
        if rank:
            with torch.no_grad():
                net.head.decoder.labels.table.weight.add_(1)
        wrapped = DistributedDataParallel(net, find_unused_parameters=False)
        optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE)
        for emptied in (False, True):
            for step in range(STEPS):
                x, labels = batch(rank, step)
                optimizer.zero_grad()
                wrapped(x, [[], []] if emptied and rank else labels).backward()
                optimizer.step()
            states.append({name: value.clone() for name, value in net.state_dict().items()})
    torch.save(states, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def joint(case):
    """One process on both ranks' pictures at once."""
    net = make(case)
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE)
    for step in range(STEPS):
        (x0, labels0), (x1, labels1) = batch(0, step), batch(1, step)
        optimizer.zero_grad()
        net(torch.cat([x0, x1]), labels0 + labels1).backward()
        optimizer.step()
    return net.state_dict()


def test_two_processes_take_the_steps_of_one(tmp_path):
    """Where every picture has labels; a rank without any then goes on with the other, in step."""
    torch.multiprocessing.start_processes(train, (str(tmp_path),), PROCESSES, start_method='fork')
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(PROCESSES))
    for index, case in enumerate(CASES):
        start, expected = make(case).state_dict(), joint(case)
        full, emptied = first[2 * index : 2 * index + 2]
        for name, value in expected.items():
            torch.testing.assert_close(full[name], value, rtol=1e-8, atol=1e-10, msg=f'{case}: {name}')
            for ours, theirs in zip(
                first[2 * index : 2 * index + 2], second[2 * index : 2 * index + 2], strict=True
            ):
                assert torch.equal(ours[name], theirs[name]), f'{case}: {name}'
            assert emptied[name].isfinite().all()
        moved = {name for name, value in expected.items() if not torch.equal(value, start[name])}
        assert moved >= {f'head.decoder.{name}.weight' for name in ('labels.table', 'history', 'picture')}
        assert any(not torch.equal(emptied[name], full[name]) for name in moved)

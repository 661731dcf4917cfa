"""Gradients that wait for further steps, averaged over processes of which not all have used every weight."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from mmlattn.engine.reproducibility.accumulation import average_gradients

# What each of two processes has gathered for the weights a, b, c and d; the last one is frozen.
GATHERED = ([4.0, 1.0, None, None], [None, 3.0, None, None])
AVERAGED = [2.0, 2.0, None, None]


def average(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2)
    weights = [nn.Parameter(torch.zeros(3), requires_grad=name != 'd') for name in 'abcd']
    for weight, value in zip(weights, GATHERED[rank], strict=True):
        weight.grad = None if value is None else torch.full((3,), value)
    waits = SimpleNamespace(_accumulative_counts=2, should_update=lambda: False)
    average_gradients(SimpleNamespace(model=nn.ParameterList(weights), optim_wrapper=waits))
    torch.save([weight.grad for weight in weights], f'{folder}/{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.dist
def test_what_one_process_has_used_is_averaged_and_what_none_has_stays_without_a_gradient(tmp_path):
    torch.multiprocessing.start_processes(average, (str(tmp_path),), 2, start_method='fork')
    for rank in range(2):
        gradients = torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        assert [None if g is None else g.tolist() for g in gradients] == [v and [v] * 3 for v in AVERAGED]

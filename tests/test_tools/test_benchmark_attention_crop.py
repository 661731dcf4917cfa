"""The benchmark of the crop compares what computes the same, and its command runs."""

import re
import sys

import pytest
import torch
from tiny_run import TOOLS, run_tool

from mmlattn.models.racnn.crop import attention_crop


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS / 'analysis_tools'))
    import benchmark_attention_crop

    yield benchmark_attention_crop
    del sys.modules['benchmark_attention_crop']


def test_loops_see_the_same(benchmark):
    """Squares on whole pixels: both loops show the crop, the slices but for the outermost rows and columns."""
    torch.manual_seed(0)
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    squares = torch.tensor([[0.5, 0.5, 0.5], [0.25, 0.5, 0.25], [0.5, 0.625, 0.125]], dtype=torch.float64)
    squares.requires_grad_()
    ours, looped = attention_crop(x, squares, 8), benchmark.sampler_loop(x, squares, 8)
    torch.testing.assert_close(looped, ours)
    cut = benchmark.slices(x, squares, 8)
    torch.testing.assert_close(cut[..., 1:-1, 1:-1], ours[..., 1:-1, 1:-1])
    cotangent = torch.randn_like(ours)
    expected = torch.autograd.grad(ours, (x, squares), cotangent)
    torch.testing.assert_close(torch.autograd.grad(looped, (x, squares), cotangent), expected)
    assert torch.autograd.grad(cut, (x, squares), cotangent, allow_unused=True)[1] is None


def test_table(tmp_path):
    """Times are for people to read."""
    sizes = ['--batch-size', '2', '--size', '16', '--crop-size', '8', '--repeats', '1']
    done = run_tool('analysis_tools/benchmark_attention_crop.py', *sizes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r'^\| (\w.*?) \| (.*) \|$', done.stdout, flags=re.M))
    assert set(rows) == {
        'attention_crop, boxcar', 'attention_crop, sampler', 'loop of slices', 'loop of grid_sample'
    }  # fmt: skip
    assert rows['loop of slices'].split(' | ')[3] == rows['loop of grid_sample'].split(' | ')[4] == '1.00'

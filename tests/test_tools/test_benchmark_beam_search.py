"""The benchmark of the beam search compares what computes the same, and its command runs."""

import re
import sys

import pytest
import torch
from tiny_run import TOOLS, run_tool


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS / 'analysis_tools'))
    import benchmark_beam_search

    yield benchmark_beam_search
    del sys.modules['benchmark_beam_search']


@torch.no_grad()
def test_searches_find_the_same(benchmark):
    """Also where paths end early, which the timed ones do not."""
    torch.manual_seed(0)
    decoder = benchmark.make_decoder(9, 16)
    context = decoder.context(torch.randn(5, 64))
    lengths = set()
    for end in (decoder.labels.table.weight[9].clone(), torch.randn(64)):
        decoder.labels.table.weight[9] = end
        paths = [search(decoder, context, 3, 6) for search in benchmark.SEARCHES.values()]
        assert paths[0] == paths[1] == paths[2]
        lengths |= {len(path) for path in paths[0]}
    assert 6 in lengths and len(lengths) > 1


def test_table(tmp_path):
    """Times are for people to read; the best path has all the labels it may."""
    sizes = dict(
        zip(['batch-size', 'width', 'num-classes', 'steps', 'hidden-dims', 'repeats'], '327481', strict=True)
    )
    options = [f'--{name}={size}' for name, size in sizes.items()]
    done = run_tool('analysis_tools/benchmark_beam_search.py', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r'^\| (\w.*?) \| (.*) \|$', done.stdout, flags=re.M))
    assert set(rows) == {'beam_search', 'one call per image and step', 'one call per live path'}
    assert rows['beam_search'].split(' | ')[1] == '1.0' and '4 labels on the best path' in done.stdout

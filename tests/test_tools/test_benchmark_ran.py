"""The benchmark counts what it divides by, and its command runs."""

import re
import sys

import pytest
from tiny_run import TOOLS, run_tool


@pytest.mark.slow
def test_multiply_adds_are_those_of_the_papers(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS / 'analysis_tools'))
    import benchmark_ran

    assert benchmark_ran.multiply_adds('Attention-56', 224) == 6_270_836_736
    assert benchmark_ran.multiply_adds('ResNet-50', 224) == 4_089_184_256  # 4.09 G in torchvision's table
    del sys.modules['benchmark_ran']


@pytest.mark.slow
def test_table(tmp_path):
    args = [
        '--batch-size',
        '2',
        '--size',
        '64',
        '--repeats',
        '1',
        '--threads',
        '1',
        '--networks',
        'Attention-56',
        'ResNet-50',
    ]
    done = run_tool('analysis_tools/benchmark_ran.py', *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r'^\| (Attention-56|ResNet-50) (\|.*\|)$', done.stdout, flags=re.M))
    assert rows['Attention-56'].endswith('| 1.000 | 1.000 |')
    cells = [cell.strip() for cell in rows['ResNet-50'].strip('|').split('|')]
    step, per_multiply_add = map(float, cells[-2:])
    assert per_multiply_add / step == pytest.approx(float(cells[0].split()[0]) / 0.51, rel=0.05)
    assert all(float(cell.split()[0]) > 0 for cell in cells)

import subprocess
import sys


def test_keeps_at_most_half_of_mmpretrains_memory(repo_root):
    """Times are for people to read; what autograd keeps is exact."""
    tool = repo_root / 'tools/analysis_tools/benchmark_csra_head.py'
    sizes = ['--num-heads', '6', '--in-channels', '64', '--batch-size', '4', '--repeats', '1']
    done = subprocess.run([sys.executable, '-W', 'ignore', str(tool), *sizes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.startswith('CSRA')}
    assert float(rows['CSRAHead'][3]) > 0
    assert float(rows['CSRAClsHead'][4]) <= 0.5

"""check_dataset.py and benchmark_report.py as their users start them."""

import os
import re
import subprocess
import sys

import pytest

CONFIG = """
model = dict(head=dict(num_classes={num_classes}))
train_dataloader = dict(dataset=dict(
    type='mmlattn.COCOMultiLabel', data_root={root!r}, ann_file='annotations/instances_train2017.json',
    data_prefix='train2017'))
"""


def run(repo_root, tool, *args):
    env = dict(os.environ, PYTHONPATH=str(repo_root), OMP_NUM_THREADS='1', COLUMNS='100')
    command = [sys.executable, str(repo_root / 'tools' / 'analysis_tools' / tool), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


@pytest.mark.slow
def test_check_dataset(repo_root, make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=6)
    good, other = tmp_path / 'good.py', tmp_path / 'other.py'
    good.write_text(CONFIG.format(num_classes=80, root=str(root)))
    other.write_text(CONFIG.format(num_classes=81, root=str(root)))
    result = run(repo_root, 'check_dataset.py', good, '--images')
    assert result.returncode == 0, result.stderr
    assert re.search(r'train: 6 images, 1 without a label', result.stdout)

    picture = sorted((root / 'train2017').iterdir())[2]
    picture.write_bytes(picture.read_bytes()[:300])
    result = run(repo_root, 'check_dataset.py', other, '--images')
    assert result.returncode == 1 and 'Traceback' not in result.stderr
    assert 'model.head.num_classes is 81 but the train data set has 80' in result.stderr
    assert picture.name in result.stderr


@pytest.mark.slow
def test_benchmark_report(repo_root):
    result = run(repo_root, 'benchmark_report.py', '--images', 3000, '--classes', 5, '--repeats', 3)
    assert result.returncode == 0, result.stderr
    theirs, ours = map(float, re.findall(r'mAP (\S+)', result.stdout))
    assert theirs == pytest.approx(ours, rel=1e-5)
    assert float(re.search(r'ratio (\S+)', result.stdout)[1]) > 0

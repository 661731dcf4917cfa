"""Several configs, several seeds, one table; finished runs are read again, but only those of the same recipe."""

import json
import math
import re
import runpy
import statistics
import subprocess
import sys

import pytest
from tiny_run import TOOLS, run_tool, tool_environment, write_tiny_run


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    tiny = write_tiny_run(tmp_path_factory.mktemp('compare'))
    logged = tiny.with_name('logged.py')
    logged.write_text("_base_ = 'tiny.py'\nvisualizer = dict(vis_backends=[dict(type='LocalVisBackend')])\n")
    return logged


@pytest.fixture
def compare(config, monkeypatch):
    """Runs the tool; the runs that it starts are processes of their own, with the environment of tools."""
    for name, value in tool_environment().items():
        monkeypatch.setenv(name, value)

    def run(out, *args):
        return run_tool('analysis_tools/compare_runs.py', config, *args, '--out-dir', out, cwd=config.parent)

    return run


def forked(folder, real=subprocess.run):
    """``subprocess.run`` that forks the tools instead of starting Python anew."""

    def run(command, **options):
        if command[0] != sys.executable:
            return real(command, **options)
        done = run_tool(*command[1:], cwd=folder)
        options['stdout'].write(done.stdout + done.stderr)
        return done

    return run


@pytest.mark.slow
def test_table_of_two_seeds(compare, tmp_path, monkeypatch):
    short = ['--cfg-options', 'train_dataloader.num_workers=0']
    first = compare(tmp_path, '--seeds', '0', '1', *short)
    assert first.returncode == 0, first.stderr
    scores = json.loads((tmp_path / 'compare.json').read_text())['scores']['accuracy/top1']['logged']
    assert scores.keys() == {'0', '1'}
    for seed, score in scores.items():
        lines = [
            json.loads(line)
            for path in (tmp_path / f'logged/seed{seed}').rglob('scalars.json')
            for line in path.open()
        ]
        assert score == [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line][-1]
    row = re.search(r'\| logged \| (\S+) \| (\S+) \|', first.stdout)
    expected = statistics.mean(scores.values()), statistics.stdev(scores.values())
    assert [float(x) for x in row.groups()] == pytest.approx(expected, abs=0.006)

    again = compare(tmp_path, '--seeds', '0', '1', *short)
    assert row.group() in again.stdout
    assert len(list(tmp_path.glob('logged/seed*/try*'))) == 2, 'finished runs are read'
    assert (tmp_path / 'compare-2.json').is_file(), 'and no report is overwritten'

    monkeypatch.setattr(
        subprocess, 'run', forked(tmp_path)
    )  # the trainings were processes as they are in use
    both = ['--metric', 'accuracy/top1', 'single-label/recall', '--test']
    tested = compare(tmp_path, '--seeds', '0', '1', *both, *short)
    assert tested.returncode == 0, tested.stderr
    assert len(list(tmp_path.glob('logged/seed*/try*'))) == 2, 'and only tested'
    report = json.loads((tmp_path / 'compare-3.json').read_text())['scores']
    assert report.keys() == {'accuracy/top1', 'single-label/recall'}
    # Test data and validation data are the same here, and the last checkpoint is of the last epoch.
    assert report['accuracy/top1']['logged'] == pytest.approx(scores)
    assert row.group() in tested.stdout

    other = compare(tmp_path, '--seeds', '0', '--cfg-options', 'train_cfg.max_epochs=1')
    assert other.returncode != 0 and 'another config or other --cfg-options' in other.stderr


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--cfg-options', 'randomness.seed=3'], 'give the seeds by --seeds'),
        (['none.py'], 'no such config: none.py'),
    ],
)
def test_mistakes_cost_no_training(compare, tmp_path, args, message):
    done = compare(tmp_path / 'out', *args)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('text', 'args', 'message'),
    [
        (
            '',
            ['--metric', 'multi-label/mAP'],
            "gives no multi-label/mAP: choose --metric among ['accuracy/top1', ",
        ),
        ('', ['--metric', 'accuracy/top1', 'accuracy/top5'], 'gives no accuracy/top5'),
        (
            "val_evaluator = [dict(type='ConfusionMatrix')]\n",
            [],
            "choose --metric among ['confusion_matrix/result']",
        ),
        ('val_evaluator = None\n', [], 'has no val_evaluator: add --test'),
        ('visualizer = dict(vis_backends=None)\n', [], 'visualizer.vis_backends='),
        ('', ['--cfg-options', 'val_evaluator.0.type=Accurracy'], 'did you mean Accuracy'),
    ],
)
def test_a_metric_that_nobody_gives_is_found_before_training(config, tmp_path, text, args, message):
    other = tmp_path / 'other.py'
    other.write_text(f'_base_ = {str(config)!r}\n{text}')
    done = run_tool(
        'analysis_tools/compare_runs.py', other, '--out-dir', tmp_path / 'out', *args, cwd=tmp_path
    )
    assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / 'out').exists()


def test_a_score_that_is_not_finite_stands_in_the_table(capsys):
    tool = runpy.run_path(str(TOOLS / 'analysis_tools/compare_runs.py'))
    tool['print_table']('mAP', dict(a={0: 1.0, 1: math.nan}, b={0: 1.0, 1: 3.0}, c={0: math.nan}))
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert rows == [
        '| a | nan | nan | 1.00, nan |',
        '| b | 2.00 | 1.41 | 1.00, 3.00 |',
        '| c | nan | one run | nan |',
    ]

"""The parts of the demo; the demo itself runs for minutes and is run by hand."""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.config import DictAction

from mmlattn.utils import UserError

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo(monkeypatch):
    """The demo's modules, importable as when it runs."""
    monkeypatch.syspath_prepend(str(REPO / 'tools' / 'demo'))
    import jobs
    import run_demo

    return jobs, run_demo


def python_job(jobs, folder, name, code):
    return jobs.Job(name, [sys.executable, '-c', code], folder / f'{name}.log')


def test_jobs_run_side_by_side_and_keep_their_logs(demo, tmp_path):
    jobs, _ = demo
    # Each waits for a file that the other makes: one after the other they would never end.
    code = (
        'import pathlib, time\npathlib.Path({!r}).touch()\n'
        "while not pathlib.Path({!r}).exists(): time.sleep(.05)\nprint('met')"
    )
    a, b = str(tmp_path / 'a'), str(tmp_path / 'b')
    jobs.run_jobs(
        [
            python_job(jobs, tmp_path, 'one', code.format(a, b)),
            python_job(jobs, tmp_path, 'two', code.format(b, a)),
        ],
        'running',
    )
    assert [(tmp_path / f'{name}.log').read_text() for name in ('one', 'two')] == ['met\n'] * 2


def test_failure_shows_the_log_and_stops_the_others_children(demo, tmp_path):
    jobs, _ = demo
    beat = tmp_path / 'beat'
    path = f'pathlib.Path({str(beat)!r})'
    child = f'import pathlib, time\nwhile True: {path}.write_text(str(time.time())); time.sleep(.05)'
    parent = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {child!r}])'
    failing = f"import pathlib, time\nwhile not {path}.exists(): time.sleep(.05)\nraise SystemExit('no data')"
    with pytest.raises(UserError, match=r'bad failed[\s\S]*no data'):
        jobs.run_jobs(
            [python_job(jobs, tmp_path, 'bad', failing), python_job(jobs, tmp_path, 'long', parent)],
            'running',
        )
    time.sleep(0.3)
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


def test_scalars_of_the_newest_run_are_read(demo, tmp_path):
    jobs, _ = demo
    assert jobs.read_scalars(tmp_path) is None
    for stamp, loss in (('20260101_000000', 9.0), ('20260102_000000', 0.5)):
        folder = tmp_path / stamp / 'vis_data'
        folder.mkdir(parents=True)
        lines = [
            json.dumps(dict(loss=loss, step=10, epoch=1)),
            json.dumps({'multi-label/mAP': 50.0}),
            '{"loss": 0.',
        ]
        (folder / 'scalars.json').write_text('\n'.join(lines))
    assert jobs.read_scalars(tmp_path) == dict(loss=0.5, step=10, epoch=1)


def test_earlier_runs_are_kept(demo, tmp_path, monkeypatch):
    _, run_demo = demo
    monkeypatch.setattr(run_demo, 'ROOT', tmp_path)
    first, second = (run_demo.new_run_folder(None, 'demo') for _ in range(2))
    assert first.is_dir() and second.is_dir() and first != second
    assert run_demo.new_run_folder(tmp_path / 'mine', 'demo') == tmp_path / 'mine'
    (tmp_path / 'mine' / 'note').touch()
    with pytest.raises(ValueError, match='not empty'):
        run_demo.new_run_folder(tmp_path / 'mine', 'demo')


def test_table_says_what_was_measured(demo):
    _, run_demo = demo
    linear = {'multi-label/mAP': 90.04, 'multi-label/CF1': 80.0, 'multi-label/OF1': 70.0}
    table = run_demo.results_table(dict(csra=linear | {'pointing/true_positives': 95.56}, linear=linear))
    assert [list(column.cells)[1] for column in table.columns] == ['linear', '90.0', '80.0', '70.0', '-']
    assert next(iter(table.columns[-1].cells)) == '95.6'


def test_commands_survive_spaces_and_commas(demo, tmp_path, monkeypatch):
    _, run_demo = demo
    clone = tmp_path / 'my clone, [new]'
    monkeypatch.setattr(run_demo, 'ROOT', clone)
    for split in ('val', 'more'):
        (clone / 'data/digits' / split).mkdir(parents=True)
        (clone / 'data/digits' / split / '000021.png').touch()
    data = Path('data/digits')
    command = run_demo.mim('train', clone / 'a.py', clone / 'run', data, 3)
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    options = parser.parse_known_args(command)[0].cfg_options
    assert options.pop('randomness.seed') == 3 and set(options.values()) == {'data/digits'}
    shown = run_demo.next_command(clone / 'a.py', clone / 'run' / 'b.pth', data, clone / 'run')
    arguments = subprocess.run(
        ['bash', '-c', f'printf "%s\\n" {shown}'], capture_output=True, text=True, cwd='/'
    )
    expected = ['tools/visualization/show_evidence.py', 'a.py', 'run/b.pth', 'data/digits/val/000021.png']
    assert arguments.stdout.splitlines()[1:5] == [str(clone / path) for path in expected]
    assert arguments.stdout.splitlines()[5:] == ['--out-dir', str(clone / 'run/shown')]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_killing_the_demo_stops_its_jobs(tmp_path, number):
    beat = tmp_path / 'beat'
    path = f'pathlib.Path({str(beat)!r})'
    child = f'import pathlib, time\nwhile True: {path}.write_text(str(time.time())); time.sleep(.05)'
    start = (
        'import pathlib, sys\nimport jobs, run_demo\n'
        f'job = jobs.Job("long", [sys.executable, "-c", {child!r}], pathlib.Path({str(tmp_path / "log")!r}))\n'
        'run_demo.new_run_folder = lambda *_: jobs.run_jobs([job], "running")\nrun_demo.main()'
    )
    demo = subprocess.Popen(
        [sys.executable, '-c', start],
        cwd=REPO / 'tools/demo',
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell in the background ignores some
    )
    deadline = time.monotonic() + 60
    while not beat.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    demo.send_signal(number)
    assert demo.wait(30) != 0
    last = beat.read_text()
    time.sleep(0.3)
    assert beat.read_text() == last


def test_a_seed_that_cannot_be_is_refused_at_once():
    command = [sys.executable, 'tools/demo/run_demo.py', '--seed', '-1']
    refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert refused.returncode == 2 and 'got -1' in refused.stderr


def test_help_needs_no_set_up():
    shown = subprocess.run(
        ['bash', 'tools/demo.sh', '--help'], cwd=REPO, capture_output=True, text=True, timeout=20
    )
    assert shown.returncode == 0 and '--photos' in shown.stdout

"""A detector trained, resumed, tested and drawn by the tools and by mim, as a user calls them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import mmengine
import pytest
from tiny_run import differing, final_state, free_port, run_script, run_tool, tool_environment

ANNOTATIONS = 'annotations/instances_train2017.json'
CONFIG = Path(__file__).parents[2] / 'configs' / 'faster-rcnn_attention-mini_fpn_coco128.py'


@pytest.fixture(scope='module')
def settings(coco_root):
    """``--cfg-options`` for a run of two epochs of three steps on six pictures, evaluated on four."""
    loaders = [f'{name}_dataloader.dataset' for name in ('train', 'val', 'test')]
    return [
        '--cfg-options',
        *(f'{loader}.data_root={coco_root}' for loader in loaders),
        *(f'{loader}.indices={count}' for loader, count in zip(loaders, (6, 4, 4), strict=True)),
        *(f'{name}_evaluator.ann_file={coco_root}/{ANNOTATIONS}' for name in ('val', 'test')),
        *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
        *('train_cfg.max_epochs=2', 'train_cfg.val_interval=2', 'default_hooks.logger.interval=1'),
        'default_hooks.checkpoint.max_keep_ckpts=2',
    ]


def mim(command: str, *args, cwd: Path) -> subprocess.CompletedProcess:
    """Run ``mim <command> mmlattn`` on the installed package.

    With the checkout on PYTHONPATH, onedl-mim would take what pip left there (mmlattn.egg-info) for the package.
    """
    environ = tool_environment()
    environ.pop('PYTHONPATH')
    line = [sys.executable, '-W', 'ignore', '-m', 'mim', command, 'mmlattn', *map(str, args)]
    return subprocess.run(line, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope='module')
def trained(settings, tmp_path_factory):
    """Working directory of a run of ``mim train``."""
    folder = tmp_path_factory.mktemp('detector')
    done = mim('train', CONFIG, '--work-dir', folder / 'run', *settings, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / 'run'


def scalars(folder: Path) -> list[dict]:
    """What a run logged: losses of each step, then metrics."""
    [file] = folder.rglob('scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_mim_trains_and_evaluates(trained):
    steps = [line for line in scalars(trained) if 'loss_rpn_cls' in line]
    assert len(steps) == 6
    assert all(0 < step['loss'] < 20 and step['grad_norm'] > 0 for step in steps)
    assert 0 <= scalars(trained)[-1]['coco/bbox_mAP'] <= 1


@pytest.mark.slow
def test_resumed_equals_uninterrupted(trained, settings, tmp_path):
    """The second epoch anew, from the first one's checkpoint, with workers."""
    shutil.copy(trained / 'epoch_1.pth', tmp_path)
    args = ['--work-dir', tmp_path / 'run', '--resume', tmp_path / 'epoch_1.pth']
    done = run_tool('train.py', CONFIG, *args, *settings, 'train_dataloader.num_workers=2', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / 'run' / 'epoch_1.pth').exists()
    assert (
        differing(final_state(trained / 'epoch_2.pth'), final_state(tmp_path / 'run' / 'epoch_2.pth')) == []
    )


@pytest.mark.slow
def test_mim_and_the_tool_test_alike_and_draw(trained, settings, tmp_path):
    checkpoint = trained / 'epoch_2.pth'
    args = ['--out', 'm.json', '--out-item', 'metrics', '--work-dir', tmp_path / 'mim', *settings]
    done = mim('test', CONFIG, '--checkpoint', checkpoint, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    args = ['--out', 'pred.pkl', '--show-dir', 'drawn', '--work-dir', tmp_path / 'tool', *settings]
    done = run_tool('test.py', CONFIG, checkpoint, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    [log] = (tmp_path / 'tool').glob('*/*.json')
    metrics = json.loads(log.read_text())
    by_mim = json.loads((tmp_path / 'm.json').read_text())
    assert by_mim.keys() >= {'coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/bbox_mAP_s'}
    assert all(metrics[name] == value for name, value in by_mim.items())
    predictions = mmengine.load(tmp_path / 'pred.pkl')
    assert len(predictions) == 4
    assert all(set(p['pred_instances']) == {'bboxes', 'labels', 'scores'} for p in predictions)
    names = {Path(p['img_path']).stem for p in predictions}
    assert {file.stem for file in (tmp_path / 'drawn').iterdir()} == names


@pytest.mark.slow
@pytest.mark.dist
def test_two_processes_leave_no_parameter_unused(settings, tmp_path):
    """Torch's DDP raises at the second step if a parameter took no part in the first."""
    options = [*settings, 'train_cfg.max_epochs=1']
    args = [CONFIG, 2, '--work-dir', tmp_path / 'run', *options]
    done = run_script('dist_train.sh', *args, cwd=tmp_path, PORT=free_port())
    assert done.returncode == 0, done.stderr
    assert len([line for line in scalars(tmp_path / 'run') if 'loss' in line]) == 2


@pytest.mark.slow
def test_missing_annotations_of_a_metric_are_named(settings, tmp_path):
    done = run_tool('train.py', CONFIG, *settings, 'val_evaluator.ann_file=none.json', cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith('error: ') and "val_evaluator.ann_file='none.json' does not exist" in message

"""The tools as a user calls them: flags, results, resuming after a kill, readable errors, slurm."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import TOOLS, differing, final_state, run_script, run_tool, tool_environment


@pytest.fixture(scope='module')
def trained(config, tmp_path_factory):
    """Working directory of a finished run of the tool."""
    folder = tmp_path_factory.mktemp('trained')
    done = run_tool('train.py', config, '--no-persistent-workers', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / 'work_dirs' / 'tiny'


THEIRS = Path(mmpretrain.__path__[0], '.mim', 'tools')
OURS = {
    '--trust-checkpoint',
    '--constraints',
    '--threshold',
    '--ignore-decision',
    '--tta-scales',
    '--tta-crops',
}


def flags(text: str) -> set[str]:
    return set(re.findall(r'(?<![\w-])--[\w-]+', text))


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_flags_are_those_of_mmpretrain(tool, tmp_path):
    ours, theirs = (run_tool(path, '-h', cwd=tmp_path) for path in (tool, THEIRS / tool))
    assert ours.returncode == 0
    assert flags(ours.stdout) - OURS == flags(theirs.stdout) - {'--'}
    assert '--gpus' not in ours.stdout  # openmim would take it for a tool of the 1.x days


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_help_imports_no_torch(tool):
    code = (
        'import atexit, runpy, sys\n'
        "atexit.register(lambda: print('HEAVY' if 'torch' in sys.modules else 'LIGHT'))\n"
        "sys.argv = ['tool', '-h']\n"
        f"runpy.run_path({str(TOOLS / tool)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, '-c', code], env=tool_environment(), capture_output=True, text=True
    )
    assert done.stdout.strip().endswith('LIGHT')


@pytest.mark.slow
def test_train_then_test(config, trained, tmp_path):
    args = [config, trained / 'epoch_3.pth', '--work-dir', tmp_path / 'run']
    (tmp_path / 'sp ace').symlink_to(config.parent)
    data = f'test_dataloader.dataset.data_root={tmp_path}/sp ace/data'
    done = run_tool('test.py', *args, '--out', 'pred.pkl', '--cfg-options', data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(mmengine.load(tmp_path / 'pred.pkl')) == 11
    done = run_tool('test.py', *args, '--out', 'm.json', '--out-item', 'metrics', '--tta', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours = "{'type': 'mmlattn.EvidenceVisualizationHook'}", "{'type': 'mmlattn.EvidenceVisualizer'}"
    drawn = f'default_hooks.visualization={ours[0]}', f'visualizer={ours[1]}'
    done = run_tool(
        'test.py', *args, '--tta', '--show-dir', tmp_path / 'drawn', '--cfg-options', *drawn, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert len([*(tmp_path / 'drawn').rglob('*.png')]) == 11
    assert json.loads((tmp_path / 'm.json').read_text()).keys() >= {'accuracy/top1', 'single-label/precision'}
    [dumped] = (tmp_path / 'run').glob('tiny.py')  # its own custom_hooks do not name the hook
    assert dumped.read_text().count('mmlattn.ClassNamesHook') == 1
    for hook in ('mmlattn.ClassNamesHook', 'mmlattn.ReproducibilityHook'):
        assert (trained / 'tiny.py').read_text().count(hook) == 1
    assert (tmp_path / 'run').is_dir() and not (tmp_path / 'work_dirs').exists()


@pytest.mark.slow
@pytest.mark.parametrize('classes_as_types', [False, True])
def test_a_stock_config_is_drawn_with_our_hook_and_visualizer(config, trained, tmp_path, classes_as_types):
    """In the colours of the files and large enough to be seen; a config may name its hook by class."""
    for name, colour in dict(a=(255, 0, 0), b=(0, 255, 0), c=(0, 0, 255)).items():
        (tmp_path / 'data' / name).mkdir(parents=True)
        Image.new('RGB', (40, 40), colour).save(tmp_path / 'data' / name / f'{name}.png')
    path = tmp_path / 'own.py'
    path.write_text(config.read_text())
    if classes_as_types:
        imports = 'from mmpretrain.engine import VisualizationHook\nfrom mmpretrain.visualization import *\n'
        own = "default_hooks['visualization'] = dict(type=VisualizationHook, enable=False)\n"
        own += 'visualizer = dict(type=UniversalVisualizer)\n'
        path.write_text(imports.replace('*', 'UniversalVisualizer') + config.read_text() + own)
    data = f'test_dataloader.dataset.data_root={tmp_path}/data'
    checkpoint = trained / 'epoch_3.pth'
    done = run_tool('test.py', path, checkpoint, '--show-dir', 'shown', '--cfg-options', data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'mmlattn.EvidenceVisualizer draws in the place of UniversalVisualizer' in done.stdout + done.stderr
    drawn = {file.stem[0]: Image.open(file) for file in (tmp_path / 'shown').rglob('*.png')}
    assert drawn.keys() == {'a', 'b', 'c'}
    for channel, name in enumerate('abc'):
        pixels = np.asarray(drawn[name].convert('RGB')).reshape(-1, 3)
        pure = (pixels[:, channel] == 255) & (np.delete(pixels, channel, axis=1) == 0).all(axis=1)
        assert pure.sum() > 150**2


@pytest.mark.slow
@pytest.mark.parametrize('by', ['epoch', 'iter'])
def test_the_schedule_of_a_dumped_config_can_be_drawn(config, tmp_path, by):
    """Mmpretrain's tool trains on a list in place of a loader, with all our hooks."""
    path = tmp_path / 'whole.py'
    path.write_text(f'_base_ = {str(config)!r}\n' + BY_ITERATION * (by == 'iter'))
    dumping = [
        '--cfg-options',
        'default_hooks.param_scheduler.type=ParamSchedulerHook',
        'train_cfg.val_interval=99',
    ]
    done = run_tool('train.py', path, '--work-dir', tmp_path / 'run', *dumping, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tool, flags = THEIRS / 'visualization' / 'vis_scheduler.py', ('-d', '12', '-s', 'lr.png', '--not-show')
    done = run_tool(tool, tmp_path / 'run' / 'whole.py', *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'lr.png').is_file()


IDENTITY = """
tta_model = dict(type='AverageClsScoreTTA')
tta_pipeline = [
    *_base_.test_pipeline[:-1], dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=0.)],
    [_base_.test_pipeline[-1]]])]
"""


@pytest.mark.slow
@pytest.mark.parametrize('hook', ['EMAHook', 'mmengine.EMAHook'])
def test_one_unchanged_view_gives_the_same_scores(config, trained, tmp_path, hook):
    """Averaged weights too, which are those of the checkpoint."""
    path = tmp_path / 'identity.py'
    hooks = f"custom_hooks = [dict(type='{hook}', momentum=0.1, priority='ABOVE_NORMAL')]\n"
    path.write_text(f'_base_ = {str(config)!r}\n{hooks}{IDENTITY}')
    scores = []
    for name, flag in {'plain.pkl': [], 'tta.pkl': ['--tta']}.items():
        done = run_tool('test.py', path, trained / 'epoch_3.pth', '--out', name, *flag, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        scores.append({s['img_path']: s['pred_score'] for s in mmengine.load(tmp_path / name)})
    assert scores[0].keys() == scores[1].keys() and len(scores[0]) == 11
    for image, score in scores[0].items():
        torch.testing.assert_close(scores[1][image], score)


BY_ITERATION = """
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=9, val_interval=9)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3))
"""


@pytest.mark.slow
@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_killed_and_resumed_equals_uninterrupted(config, trained, tmp_path, unit):
    """Killed in the middle of the second stretch; the tool's defaults keep the two workers alive."""
    base = f'_base_ = {str(config)!r}\ntrain_dataloader = dict(num_workers=2)\n'
    whole, killed = tmp_path / 'whole.py', tmp_path / 'killed.py'
    whole.write_text(base + BY_ITERATION * (unit == 'iter'))
    kill = "custom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration=4)]\n"
    killed.write_text(whole.read_text() + kill)
    expected = trained / 'epoch_3.pth'  # without workers
    if unit == 'iter':
        done = run_tool('train.py', whole, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        expected = tmp_path / 'whole' / 'iter_9.pth'
    done = run_tool('train.py', killed, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'run', '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'iter: 3' in done.stdout + done.stderr  # really resumed
    assert differing(final_state(expected), final_state(tmp_path / 'run' / expected.name)) == []


BAD_CALLS = {
    'config': (['train.py', '{folder}/tinny.py'], ['there is no config file', 'did you mean', 'tiny.py']),
    'data': (
        ['train.py', '{config}', '--cfg-options', 'train_dataloader.dataset.data_root=no/such/folder'],
        ["train_dataloader.dataset.data_root='no/such/folder'", 'does not exist'],
    ),
    'weights': (
        [
            'train.py', '{config}', '--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
            'model.backbone.init_cfg.checkpoint=http://127.0.0.1:9/resnet-0123abcd.pth',
        ],
        ['http://127.0.0.1:9/', 'checkpoints/resnet-0123abcd.pth', 'init_cfg=None', 'fc_from_vgg=None'],
    ),
    'model': (
        ['train.py', '{config}', '--cfg-options', 'model.head.num_classes=0'],
        ['config does not work: num_classes=0'],
    ),
    'first step': (
        ['train.py', '{config}', '--cfg-options', 'model.head.in_channels=33'],
        ['in the first step of the train loop: mat1 and mat2 shapes', 'in head.layers.0.fc: Linear(in_features=33'],
    ),
    'metric': (
        ['train.py', '{config}', '--cfg-options', 'val_evaluator.0.type=Nothing'],
        ['config does not work', 'Nothing'],
    ),
    'metric of test': (
        ['test.py', '{config}', 'none.pth', '--cfg-options', 'test_evaluator.0.type=Nothing'],
        ['config does not work', 'Nothing'],
    ),
    'averaged': (
        ['test.py', '{config}', 'none.pth', '--tta', '--cfg-options', 'custom_hooks.0.evaluate_on_ema=False'],
        ['evaluate_on_ema'],
    ),
    'resume': (['train.py', '{config}', '--resume', 'none.pth'], ['there is no checkpoint none.pth']),
    'scale': (['train.py', '{config}', '--auto-scale-lr'], ['base_batch_size']),
    'launcher': (['test.py', '{config}', 'none.pth', '--launcher', 'slurm'], ['SLURM_PROCID', 'slurm_*.sh']),
    'test': (['test.py', '{config}', 'none.pth'], ['there is no checkpoint none.pth']),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('mistake', BAD_CALLS)
def test_mistake_gets_one_readable_message(config, tmp_path, mistake):
    args, expected = BAD_CALLS[mistake]
    args = [arg.format(config=config, folder=config.parent) for arg in args]
    done = run_tool(*args, cwd=tmp_path)
    message = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and message.startswith('error: ')
    assert all(part in message for part in expected), message
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_weights_of_another_network_get_no_score(config, trained, tmp_path):
    checkpoint = torch.load(next(trained.glob('epoch_*.pth')), weights_only=False)
    name = 'backbone.conv1.weight'
    narrower = checkpoint['state_dict'][name][:-1]  # mmengine alone would go on with random weights
    checkpoint['state_dict'][name] = narrower
    del checkpoint['digests']  # it is meant so
    torch.save(checkpoint, tmp_path / 'part.pth')
    without_ema = ['--cfg-options', 'custom_hooks=[]']
    done = run_tool('test.py', config, str(tmp_path / 'part.pth'), *without_ema, cwd=tmp_path)
    assert done.returncode == 1
    assert name in done.stderr and 'Traceback' not in done.stderr
    assert 'accuracy' not in done.stdout


@pytest.mark.slow
def test_bug_keeps_its_traceback(config, tmp_path):
    """As does whatever else happens after the first step."""
    done = run_tool('train.py', config, '--cfg-options', "custom_hooks=[{'type':'BugHook'}]", cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' in done.stderr
    assert done.stderr.splitlines()[-1] == 'RuntimeError: a bug'


@pytest.mark.slow
def test_traceback_for_those_who_ask(config, tmp_path, monkeypatch):
    monkeypatch.setenv('MMLATTN_TRACEBACK', '1')
    done = run_tool('train.py', config, '--cfg-options', 'model.head.in_channels=33', cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' in done.stderr


@pytest.mark.slow
def test_the_config_in_the_working_directory_is_used_and_kept(config, trained, tmp_path):
    """A run's dump tests and resumes that run; what a user wrote there stays as it is, byte for byte."""
    work_dir = tmp_path / 'run'
    shutil.copytree(trained, work_dir)
    dumped, (last, earlier) = work_dir / 'tiny.py', (work_dir / f'epoch_{n}.pth' for n in (3, 2))
    expected = final_state(last)
    text = dumped.read_text()
    args = [dumped, last, '--work-dir', work_dir, '--out', 'm.json', '--out-item', 'metrics']
    done = run_tool('test.py', *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert dumped.read_text() == text
    last.unlink()
    (work_dir / 'last_checkpoint').write_text(str(earlier))
    done = run_tool('train.py', dumped, '--work-dir', work_dir, '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert differing(expected, final_state(last)) == []
    assert dumped.read_text() == text
    # Another training of the name: its dump is found under that name, and the earlier one beside it.
    done = run_tool(
        'train.py', config, '--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert 'max_epochs=1' in dumped.read_text()
    others = [path.read_text() for path in work_dir.glob('tiny_*.py')]
    assert text in others and len(others) == 3


@pytest.mark.slow
def test_a_config_written_by_hand_and_its_base_stay(config, tmp_path):
    base, own = tmp_path / 'tiny.py', tmp_path / 'sub' / 'tiny.py'
    base.write_text('# mine\n' + config.read_text())
    own.parent.mkdir()
    own.write_text("_base_ = '../tiny.py'  # mine, too\ntrain_cfg = dict(max_epochs=1)\n")
    before = base.read_text(), own.read_text()
    for path in (base, own):
        done = run_tool(
            'train.py', path, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert (base.read_text(), own.read_text()) == before
    assert len([*tmp_path.glob('tiny_*.py')]) == 2


@pytest.mark.parametrize(
    ('environment', 'asked'),
    [
        (dict(GPUS='1'), ['gpu:1', '1', '1']),
        (dict(GPUS='16'), ['gpu:8', '16', '8']),
        (dict(), ['gpu:8', '8', '8']),
        (dict(GPUS='8', GPUS_PER_NODE='4'), ['gpu:4', '8', '4']),
    ],
)
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_slurm_is_asked_for_no_more_than_wanted(tmp_path, tool, environment, asked):
    (tmp_path / 'srun').write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    done = run_script(f'slurm_{tool}.sh', 'p', 'j', 'c.py', 'w', cwd=tmp_path, PATH=path, **environment)
    flags = dict(
        line.split('=', 1) for line in done.stdout.splitlines() if line.startswith('--') and '=' in line
    )
    assert [flags[name] for name in ('--gres', '--ntasks', '--ntasks-per-node')] == asked


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_scripts_say_how_to_use_them(script, tmp_path):
    done = run_script(script, 'config.py', cwd=tmp_path)
    assert done.returncode == 2 and f'usage: bash tools/{script} ' in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_slurm_script(config, trained, tmp_path, tool):
    """A stand-in for srun notes its arguments and runs the command as slurm's only task."""
    (tmp_path / 'bin').mkdir()
    srun = tmp_path / 'bin' / 'srun'
    srun.write_text(
        '#!/usr/bin/env bash\n'
        'printf "%s\\n" "$@" > srun.txt\n'
        'while [ "$1" != -u ]; do last=$1; shift; done\n'
        'export SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0 MASTER_ADDR=127.0.0.1\n'
        'exec "$last" "$@"\n'
    )
    srun.chmod(0o755)
    work_dir = tmp_path / 'my run'
    fourth = work_dir if tool == 'train' else trained / 'epoch_3.pth'
    extra = ['--work-dir', work_dir] if tool == 'test' else ['--cfg-options', 'experiment_name=two words']
    done = run_script(
        f'slurm_{tool}.sh', 'my partition', 'my job', config, fourth, *extra,
        cwd=tmp_path, PATH=f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}', GPUS='1', GPUS_PER_NODE='1',
        SRUN_ARGS='--qos=low --nice', MASTER_PORT='29611',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    passed = (tmp_path / 'srun.txt').read_text().splitlines()
    assert passed[:9] == [
        '-p', 'my partition', '--job-name=my job', '--gres=gpu:1', '--ntasks=1', '--ntasks-per-node=1',
        '--cpus-per-task=5', '--kill-on-bad-exit=1', '--qos=low',
    ]  # fmt: skip
    assert passed[-2:] == list(map(str, extra))
    assert (work_dir / 'tiny.py').exists()

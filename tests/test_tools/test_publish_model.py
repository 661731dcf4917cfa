"""A training run, published: one file and a folder that every tool takes, with nothing of the run but its weights."""

import json
import re

import pytest
import torch
from mmengine.runner import CheckpointLoader
from tiny_run import run_tool

import mmlattn
from mmlattn.structures.decisions import read_decision
from mmlattn.utils.checkpoint.loading import safe_loading


def said(done):
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def published(folder, pattern):
    (file,) = [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]
    return file


@pytest.mark.slow
def test_from_training_to_a_folder(config, tmp_path):
    def run(tool, *args):
        done = run_tool(tool, *args, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done

    short = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    run('train.py', config, '--work-dir', tmp_path / 'run', *short)
    trained = tmp_path / 'run' / 'epoch_1.pth'
    metrics = ['--out-item', 'metrics', '--out']
    run('test.py', config, trained, *metrics, tmp_path / 'trained.json')

    done = run('publish_model.py', trained, tmp_path / 'tiny.safetensors')
    assert 'the averaged weights of EMA' in done.stdout
    file = published(tmp_path, r'tiny-[0-9a-f]{8}\.safetensors')
    assert str(file) in done.stdout
    run('test.py', config, file, *metrics, tmp_path / 'published.json')
    assert (tmp_path / 'published.json').read_text() == (tmp_path / 'trained.json').read_text()
    with safe_loading():
        found, source = (CheckpointLoader.load_checkpoint(str(path)) for path in (file, trained))
    assert found.keys() == {'state_dict', 'meta', 'digests'}
    assert all(torch.equal(found['state_dict'][name], value) for name, value in source['state_dict'].items())
    assert str(tmp_path) not in file.read_bytes().decode('latin1')

    run('publish_model.py', trained, tmp_path / 'plain.pth', '--no-ema')
    plain = torch.load(published(tmp_path, r'plain-[0-9a-f]{8}\.pth'), weights_only=True)
    averages = source['ema_state_dict']
    assert all(torch.equal(value, averages[f'module.{name}']) for name, value in plain['state_dict'].items())

    done = run_tool('train.py', config, '--resume', file, '--work-dir', tmp_path / 'next', cwd=tmp_path)
    assert done.returncode == 1 and 'has no message_hub, as when it was made for publication' in said(done)
    run('analysis_tools/tune_thresholds.py', config, file, '--folds', '2')
    with safe_loading():
        tuned = CheckpointLoader.load_checkpoint(str(file.with_name(f'{file.stem}_tuned.safetensors')))
    assert read_decision(tuned).activation == 'softmax'

    told = ['--measured', tmp_path / 'published.json', '--measured-by', 'on its training pictures']
    run('publish_model.py', trained, tmp_path / 'folder', '--config', config, *told)
    model = mmlattn.from_pretrained(tmp_path / 'folder')
    assert all(torch.equal(model.state_dict()[name], value) for name, value in source['state_dict'].items())
    value = json.loads((tmp_path / 'published.json').read_text())['accuracy/top1']
    assert f'| accuracy/top1 | {value} |' in (tmp_path / 'folder' / 'README.md').read_text()


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (['a.pth', 'folder'], 'folder is to be a folder, which needs --config'),
        (['a.pth', 'a.pth', '--push', 'me/a'], '--push is for a folder, and a.pth is one file'),
        (
            ['a.pth', 'folder', '--config', 'c.py', '--measured', 'm.json'],
            '--measured and --measured-by go together',
        ),
        (['a.pth', 'folder', '--config', 'c.py', '--public'], '--public needs --push'),
        (
            ['a.pth', 'folder', '--config', 'c.py', '--push', 'me'],
            "error: a repository is named user/name, got 'me'",
        ),
        (['a.pth', 'b.pth'], 'error: there is no checkpoint a.pth'),
        (
            ['a.pth', 'folder', '--config', 'c.py', '--measured', 'm.json', '--measured-by', 'x'],
            'error: --measured m.json cannot be read as json',
        ),
    ],
)
def test_mistakes(tmp_path, flags, words):
    done = run_tool('publish_model.py', *flags, cwd=tmp_path)
    assert done.returncode and words in said(done)
    assert {path.name for path in tmp_path.iterdir()} <= {'stdout.txt', 'stderr.txt'}

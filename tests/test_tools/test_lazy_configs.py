"""Configs in pure Python, with classes in the place of names, in every tool."""

import json
import re

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import run_tool

from mmlattn.apis.loading import build_model, without_pretrained
from mmlattn.utils.launch.config import load_config

CONFIG = """
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.hooks import CheckpointHook, EMAHook, LoggerHook, ParamSchedulerHook
from mmengine.optim import LinearLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from mmengine.visualization import LocalVisBackend
from mmpretrain.datasets import CenterCrop, MultiLabelDataset, PackInputs
from mmpretrain.engine import VisualizationHook
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier, ResNet
from mmpretrain.models.losses import CrossEntropyLoss
from mmpretrain.visualization import UniversalVisualizer
from torch.nn import BatchNorm2d
from torch.optim import SGD

from mmlattn.engine import FiniteLossHook
from mmlattn.evaluation import MultiLabelReport
from mmlattn.models import CSRAHead

model = dict(
    type=ImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(type=ResNet, depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type=BatchNorm2d)),
    head=dict(type=CSRAHead, num_classes=3, in_channels=64, num_heads=1, with_evidence=True,
              loss=dict(type=CrossEntropyLoss, use_sigmoid=True)))
pipeline = [
    dict(type=LoadImageFromFile), dict(type=Resize, scale=(64, 64)), dict(type=CenterCrop, crop_size=64),
    dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(type=MultiLabelDataset, ann_file='a.json', data_root=ROOT, pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(type=MultiLabelDataset, ann_file='a.json', data_root=ROOT, pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = [dict(type=MultiLabelReport)]
test_evaluator = val_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.01))
param_scheduler = [dict(type=LinearLR, by_epoch=False, start_factor=0.1, end=2)]
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1, val_interval=1)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=1), param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=CheckpointHook, interval=1), visualization=dict(type=VisualizationHook, enable=False))
custom_hooks = [dict(type=EMAHook, momentum=0.1), dict(type=FiniteLossHook)]
visualizer = dict(type=UniversalVisualizer, vis_backends=[dict(type=LocalVisBackend)])
randomness = dict(seed=0)
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The folder of a run of a config in pure Python, with its config and its pictures."""
    folder = tmp_path_factory.mktemp('lazy')
    rng, items = np.random.default_rng(0), []
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f'{number}.png')
        items.append(
            dict(img_path=f'{number}.png', gt_label=[number % 3, (number + 1) % 3][: number % 2 + 1])
        )
    (folder / 'a.json').write_text(json.dumps(dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=items)))
    (folder / 'lazy.py').write_text(CONFIG.replace('ROOT', repr(str(folder))))
    done = run_tool('train.py', 'lazy.py', '--work-dir', 'run', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_what_the_tool_adds_knows_what_is_there(trained):
    """Ours in the place of mmengine's, none of them twice; and what was dumped is a config again."""
    text = (trained / 'run' / 'lazy.py').read_text()
    for name, count in dict(
        SafeCheckpointHook=1, CheckpointHook=0, FiniteLossHook=1, SeededDataset=1
    ).items():
        assert len(re.findall(rf'\b{name}\b', text)) == count, name
    cfg = Config.fromfile(trained / 'run' / 'lazy.py')
    assert cfg.train_cfg.type.endswith('ResumableEpochLoop')


TOOLS = {
    'mixed precision': ('train.py', 'lazy.py', '--work-dir', 'amp', '--amp'),
    'resume': ('train.py', 'lazy.py', '--work-dir', 'run', '--resume', '--cfg-options', 'train_cfg.max_epochs=2'),
    'dumped config': ('test.py', 'run/lazy.py', 'CHECKPOINT'),
    'views': ('test.py', 'lazy.py', 'CHECKPOINT', '--tta', '--tta-crops', 'five', '--show-dir', 'views'),
    'predict': ('predict.py', 'lazy.py', 'CHECKPOINT', '0.png', '--out-dir', 'out', '--evidence', '--draw'),
    'evidence': (
        'visualization/show_evidence.py', 'lazy.py', 'CHECKPOINT', '1.png', '--out-dir', 'shown', '--no-crop',
    ),
    'thresholds': (
        'analysis_tools/tune_thresholds.py', 'lazy.py', 'CHECKPOINT', '--out', 'tuned.pth', '--folds', '2',
    ),
    'cost': ('analysis_tools/get_flops.py', 'lazy.py'),
    'publish': ('publish_model.py', 'CHECKPOINT', 'published', '--config', 'lazy.py'),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('kind', TOOLS)
def test_tools(trained, kind):
    tool, *args = TOOLS[kind]
    args = [trained / 'run' / 'epoch_1.pth' if arg == 'CHECKPOINT' else arg for arg in args]
    done = run_tool(tool, *args, cwd=trained)
    assert done.returncode == 0, done.stderr
    if kind == 'cost':
        assert '64 x 64 (CenterCrop of the test pipeline)' in done.stdout


def with_classes(part):
    """A config of a model with the class of each part in the place of its name."""
    if isinstance(part, dict):
        part = {key: value if key == 'init_cfg' else with_classes(value) for key, value in part.items()}
        if isinstance(part.get('type'), str):
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                part['type'] = MODELS.get(part['type'])
        return part
    return [with_classes(item) for item in part] if isinstance(part, (list, tuple)) else part


@pytest.mark.parametrize(
    'name', ['racnn_resnet-mini_cluttered-digits', 'ran_attention-mini_fashion-mnist', 'st-lstm_r101_coco']
)
def test_models_of_other_systems(name):
    cfg = without_pretrained(load_config(name).to_dict())
    named, classes = (build_model(Config(c)) for c in (cfg, dict(cfg, model=with_classes(cfg['model']))))
    assert named.state_dict().keys() == classes.state_dict().keys()

"""The training tool on pictures with unknown labels: a class of which nothing is known learns nothing."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from tiny_run import run_tool

BASES = Path(__file__).parents[2] / 'configs/_base_'
CLASSES, HIDDEN = ['a', 'b', 'c'], 1
CONFIG = """
_base_ = ['{bases}/datasets/multi_label_224.py', '{bases}/default_runtime.py']
model = dict(
    type='ImageClassifier', backbone=dict(type='ResNet', depth=18, stem_channels=4, base_channels=4),
    head=dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, bias=True))
data_preprocessor = dict(num_classes=3)
mine = dict(type='mmlattn.PlainMultiLabel', ann_file='{root}/labels.json', data_prefix='{pictures}')
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=mine)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(mine, test_mode=True))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=2)
load_from = '{root}/start.pth'
"""


@pytest.fixture(scope='module')
def start(tmp_path_factory, coco_root):
    """A config on four pictures, and the weights that it starts from."""
    root = tmp_path_factory.mktemp('partial')
    pictures = sorted((coco_root / 'train2017').iterdir())[:4]
    items = [
        dict(img_path=path.name, gt_label=labels, gt_label_ignore=[HIDDEN])
        for path, labels in zip(pictures, ([0], [2], [], [0, 2]), strict=True)
    ]
    content = dict(metainfo=dict(classes=CLASSES), data_list=items)
    (root / 'labels.json').write_text(json.dumps(content))
    config = root / 'partial.py'
    config.write_text(CONFIG.format(bases=BASES, root=root, pictures=coco_root / 'train2017'))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        weights = MODELS.build(Config.fromfile(config).model).state_dict()
    torch.save(dict(state_dict=weights, meta={}), root / 'start.pth')
    return config, weights


def train(start, tmp_path, *options):
    flags = ('--cfg-options', *options) if options else ()
    return run_tool('train.py', start[0], '--work-dir', tmp_path / 'run', *flags, cwd=tmp_path)


@pytest.mark.parametrize('unknown', ['mask', 'negative'])
def test_a_hidden_class_learns_nothing_or_that_it_is_absent(start, tmp_path, unknown):
    done = train(start, tmp_path, f'model.head.unknown={unknown}')
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['state_dict']
    for name in ('head.weight', 'head.bias'):
        same = (weights[name] == start[1][name]).reshape(-1, 3, weights[name].numel() // 3).all(dim=2)[0]
        assert same.tolist() == ([False, True, False] if unknown == 'mask' else [False] * 3), name
    if unknown == 'negative':
        assert (weights['head.bias'] < start[1]['head.bias'])[HIDDEN]
    # Nor does it count in the metric, whose class b is without a positive.
    assert '1 of 3 classes have no positive: b' in done.stdout + done.stderr


def test_a_pipeline_that_drops_them_is_refused_and_a_stock_head_is_told_of(start, tmp_path):
    done = train(start, tmp_path, 'train_dataloader.dataset.pipeline.4.algorithm_keys=()')
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode and 'Traceback' not in done.stderr
    assert 'train_dataloader has unknown labels (gt_label_ignore), which its pipeline drops' in line
    head = "model.head={'_delete_':True,'type':'MultiLabelLinearClsHead','num_classes':3,'in_channels':32}"
    options = [head, "model.neck={'type':'GlobalAveragePooling'}", 'load_from=None']
    (tmp_path / 'stock').mkdir()
    done = train(start, tmp_path / 'stock', *options)
    assert done.returncode == 0, done.stderr
    told = 'MultiLabelLinearClsHead takes the unknown labels of train_dataloader for absent'
    assert told in done.stdout + done.stderr

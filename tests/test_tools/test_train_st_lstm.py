"""The paper's recipe for ST-LSTM in small, through the tools: killed and resumed, and in two processes.

One picture a step and process; two of the six have no label.
"""

import json
import signal

import pytest
import torch
from tiny_run import differing, final_state, run_tool, train_in_processes

pytestmark = pytest.mark.slow

SMALL = """
_base_ = {base!r}
custom_imports = dict(imports=['tiny_run'])
model = dict(
    margin=16,
    backbone=dict(
        _delete_=True, type='ResNet', depth=18, stem_channels=4, base_channels=4, num_stages=2, strides=(1, 2),
        dilations=(1, 1), out_indices=(1,)),
    neck=dict(
        in_channels=8, num_steps=3, region_size=4, embed_dims=8, hidden_dims=8, out_dims=8, dropout=0.3,
        fc_from_vgg=None),
    head=dict(in_channels=8))
data = dict(data_root={root!r}, ann_file='annotations/instances_train2017.json', data_prefix='train2017')
train_pipeline = [
    _base_.train_pipeline[0], dict(type='Resize', scale=(64, 64)), dict(type='RandomCrop', crop_size=48),
    *_base_.train_pipeline[3:]]
test_pipeline = [_base_.test_pipeline[0], dict(type='Resize', scale=(64, 64)), _base_.test_pipeline[-1]]
train_dataloader = dict(
    batch_size=1, num_workers=0, dataset=dict(filter_empty=False, pipeline=train_pipeline, **data))
val_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.01))  # at the paper's rate six steps change little
param_scheduler = dict(milestones=[1])
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
log_processor = dict(window_size=1)  # otherwise the log shows means of ten steps
custom_hooks = [*_base_.custom_hooks, dict(type='mmlattn.RegionDiagnosticsHook', interval=1), {hook}]
"""


@pytest.fixture(scope='module')
def write_config(repo_root, make_coco, tmp_path_factory):
    """Write the config with one more hook."""
    folder = tmp_path_factory.mktemp('st-lstm')
    root = make_coco(folder / 'coco', num_images=6)
    file = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']  # the last has none anyway
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] != first]
    file.write_text(json.dumps(content))

    def write(name, hook=''):
        path = folder / f'{name}.py'
        base = str(repo_root / 'configs' / 'st-lstm_vgg16_coco.py')
        path.write_text(SMALL.format(base=base, root=str(root), hook=hook))
        return path

    return write


def test_killed_and_resumed_equals_uninterrupted(write_config, tmp_path):
    whole, killed = write_config('whole'), write_config('killed', "dict(type='KillHook', iteration=9)")
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if 'Epoch(train)' in line]
    assert len(steps) == 12 and sum('loss_cls: 0.0000' in line for line in steps) == 4
    assert 'multi-label/mAP: ' in done.stdout
    done = run_tool('train.py', killed, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'run', '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'iter: 6' in done.stdout + done.stderr
    expected, resumed = (final_state(tmp_path / run / 'epoch_2.pth') for run in ('whole', 'run'))
    assert differing(expected, resumed) == []
    assert all(value.isfinite().all() for value in expected.values())


@pytest.mark.dist
def test_two_processes_stay_in_step(write_config, tmp_path):
    """A process whose picture has no label goes on with the other."""
    config, work_dir = write_config('ranks', "dict(type='RankStateHook')"), tmp_path / 'run'
    train_in_processes(config, work_dir)
    first, second = (torch.load(work_dir / f'rank{rank}.pth', weights_only=True) for rank in range(2))
    saved = torch.load(work_dir / 'epoch_2.pth', weights_only=False)
    learned = [name for name in saved['state_dict'] if name.endswith(('weight', 'bias'))]
    assert {'neck.loc.weight', 'neck.cell.hidden.weight', 'head.fc.bias'} <= {*learned}
    for name in learned:
        assert torch.equal(first[f'module.{name}'], second[f'module.{name}']), name
        assert torch.equal(first[f'module.{name}'], saved['state_dict'][name]), name
        assert first[f'module.{name}'].isfinite().all(), name
    assert len(saved['optimizer']['state']) == len(learned)  # every weight has had a gradient
    assert first['module.neck.loc.weight'].any()  # where it starts at 0

"""The paper's recipe for CNN-RNN in small, through the tools: killed and resumed, in two processes, tested as told.

The VGG and its fully connected layers rest; one picture a step and process, two of the six without a label.
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
    backbone=dict(depth=11, init_cfg=None),
    neck=dict(embed_dims=16, init_cfg=None),
    head=dict(in_channels=16, decoder=dict(embed_dims=8, hidden_dims=8)))
data = dict(data_root={root!r}, ann_file='annotations/instances_train2017.json', data_prefix='train2017')
train_pipeline = [
    _base_.train_pipeline[0], dict(type='Resize', scale=(40, 40)), dict(type='RandomCrop', crop_size=32),
    *_base_.train_pipeline[3:]]
test_pipeline = [_base_.test_pipeline[0], dict(type='Resize', scale=(32, 32)), _base_.test_pipeline[-1]]
train_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(milestones=[1])
train_cfg = dict(max_epochs=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
custom_hooks = [*_base_.custom_hooks, {hook}]
"""


@pytest.fixture(scope='module')
def write_config(repo_root, make_coco, tmp_path_factory):
    """Write the config with one more hook."""
    folder = tmp_path_factory.mktemp('cnn-rnn')
    root = make_coco(folder / 'coco', num_images=6)
    file = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(file.read_text())
    first = content['images'][0]['id']  # the last has none anyway
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] != first]
    file.write_text(json.dumps(content))

    def write(name, hook=''):
        path = folder / f'{name}.py'
        base = str(repo_root / 'configs' / 'cnn-rnn_vgg16_coco.py')
        path.write_text(SMALL.format(base=base, root=str(root), hook=hook))
        return path

    write.content = content
    return write


def test_killed_and_resumed_equals_uninterrupted(write_config, tmp_path):
    whole, killed = write_config('whole'), write_config('killed', "dict(type='KillHook', iteration=9)")
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = next((tmp_path / 'whole').rglob('*.log')).read_text()
    assert 'label-set/exact: ' in log and 'multi-label/mAP10_sample: ' in log
    done = run_tool('train.py', killed, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    done = run_tool('train.py', whole, '--work-dir', tmp_path / 'run', '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected, resumed = (final_state(tmp_path / run / 'epoch_2.pth') for run in ('whole', 'run'))
    assert differing(expected, resumed) == []

    first = torch.load(tmp_path / 'whole' / 'epoch_1.pth', weights_only=False)
    last = torch.load(tmp_path / 'whole' / 'epoch_2.pth', weights_only=False)
    counts = torch.zeros(80)
    labels = {item['id']: index for index, item in enumerate(write_config.content['categories'])}
    for _, label in {(a['image_id'], labels[a['category_id']]) for a in write_config.content['annotations']}:
        counts[label] += 1
    rank = last['state_dict']['head.label_rank']
    assert sorted(rank.tolist()) == list(range(80))
    assert counts[rank.argsort()].diff().le(0).all()
    learned = {name for name in first['state_dict'] if name.startswith('head.decoder')}
    for name, value in first['state_dict'].items():
        assert torch.equal(value, last['state_dict'][name]) != (name in learned), name
    assert {*last['optimizer']['state']} and len(last['optimizer']['state']) == len(learned)

    known = tmp_path / 'known.json'
    name = write_config.content['images'][1]['file_name']
    classes = [item['name'] for item in write_config.content['categories']]
    known.write_text(
        json.dumps(dict(images={name: dict(present=[classes[5]], absent=[classes[0]], count=2)}))
    )
    checkpoint = tmp_path / 'whole' / 'epoch_2.pth'
    args = ('--work-dir', tmp_path / 'test', '--out', tmp_path / 'out.pkl', '--constraints', known)
    done = run_tool('test.py', whole, checkpoint, *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    from mmlattn.utils.predictions import load_predictions

    (sample,) = (x for x in load_predictions(tmp_path / 'out.pkl') if x['img_path'].endswith(name))
    assert len(sample['pred_label']) == 2 and 5 in sample['pred_label'] and 0 not in sample['pred_label']
    assert sample['pred_score'][5] == 1 and sample['pred_score'][0] == 0


@pytest.mark.dist
def test_two_processes_stay_in_step(write_config, tmp_path):
    """Frozen parts and all; a process whose picture has no label goes on with the other."""
    config, work_dir = write_config('ranks', "dict(type='RankStateHook')"), tmp_path / 'run'
    train_in_processes(config, work_dir)
    first, second = (torch.load(work_dir / f'rank{rank}.pth', weights_only=True) for rank in range(2))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert value.isfinite().all(), name
    assert (first['module.head.label_rank'] >= 0).all()

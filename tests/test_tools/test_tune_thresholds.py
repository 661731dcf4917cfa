"""From a trained model to a tuned one with the real tools: chosen, stored, taken, overruled, gone after training."""

import json
import re
import runpy
import sys
from functools import partial
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.apis import get_model
from PIL import Image
from sklearn.linear_model import LogisticRegression
from tiny_run import run_tool, write_tiny_run

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.loading import load_trained
from mmlattn.structures import read_decision
from mmlattn.utils.checkpoint.digests import add_digests
from mmlattn.utils.checkpoint.loading import load_weights_only
from mmlattn.utils.errors import UserError
from mmlattn.utils.predictions import load_predictions

TUNE = 'analysis_tools/tune_thresholds.py'
CLASSES = ['red', 'green', 'blue']
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, norm_eval=True),
    neck=dict(type='GlobalAveragePooling'), head=dict(type='MultiLabelLinearClsHead', num_classes=3, in_channels=32))
data_preprocessor = dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True, num_classes=3, to_onehot=True)
loader = dict(
    batch_size=16, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmlattn.PlainMultiLabel', ann_file=FOLDER + '/labels.json', data_root=FOLDER,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
train_dataloader = val_dataloader = test_dataloader = loader
test_evaluator = val_evaluator = [
    dict(type='mmlattn.MultiLabelReport'), dict(type='mmlattn.LabelSetReport'), dict(type='MultiLabelMetric')]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=9)
test_cfg = val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-9))
custom_hooks = [dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL')]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
work_dir = FOLDER + '/run'
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run on 60 pictures whose label c is a bright channel c, more or less; its scores are all much too low."""
    folder = tmp_path_factory.mktemp('tuning')
    rng = np.random.default_rng(0)
    labels = rng.random((60, 3)) < 0.4
    for i, row in enumerate(labels):
        level = 90 + 45 * row + rng.normal(0, 18, 3)
        pixels = np.clip(rng.normal(level, 8, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f'{i}.png')
    entries = [dict(img_path=f'{i}.png', gt_label=np.flatnonzero(r).tolist()) for i, r in enumerate(labels)]
    content = dict(metainfo=dict(classes=CLASSES), data_list=entries)
    (folder / 'labels.json').write_text(json.dumps(content))
    config = folder / 'config.py'
    config.write_text(CONFIG.replace('FOLDER', repr(str(folder))))
    torch.manual_seed(0)
    model = get_model(Config.fromfile(config), device='cpu').eval()
    inferencer = MultiLabelInferencer(model)
    feats = []
    model.neck.register_forward_hook(lambda *args: feats.append(args[-1][-1].flatten(1)))
    inferencer([str(folder / f'{i}.png') for i in range(60)], batch_size=60)
    fitted = [LogisticRegression(max_iter=2000).fit(feats[0].numpy(), labels[:, c]) for c in range(3)]
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.tensor(np.vstack([f.coef_ for f in fitted])))
        model.head.fc.bias.copy_(torch.tensor([f.intercept_[0] - 3 for f in fitted]))
    torch.save(model.state_dict(), folder / 'fitted.pth')
    done = run_tool('train.py', config, '--cfg-options', f'load_from={folder / "fitted.pth"}', cwd=folder)
    assert done.returncode == 0, done.stderr
    return config, folder / 'run' / 'epoch_1.pth'


@pytest.fixture(scope='module')
def tuned(trained):
    """What the tool said, and the checkpoint that it wrote."""
    config, checkpoint = trained
    done = run_tool(TUNE, config, checkpoint, '--classes', 'blue', 'red', cwd=checkpoint.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout, checkpoint.with_name('epoch_1_tuned.pth')


def metrics_of(config, checkpoint, *flags):
    """The metrics of a test run, and what it logged."""
    folder = checkpoint.parent
    out = folder / f'metrics{len(list(folder.glob("metrics*")))}.json'
    done = run_tool('test.py', config, checkpoint, '--out', out, '--out-item', 'metrics', *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout + done.stderr


def test_what_is_written(trained, tuned):
    said, path = tuned
    before, after = (load_weights_only(str(file)) for file in (trained[1], path))
    decision = read_decision(after)
    assert decision.classes == tuple(CLASSES) and decision.pictures == 60 and decision.scope != 'own'
    assert decision.summary() in said and 'on held-out folds' in said
    assert before.keys() == after.keys() and read_decision(before) is None
    for part in ('state_dict', 'ema_state_dict'):
        assert all(torch.equal(v, after[part][n]) for n, v in before[part].items())
    assert before['digests'] == after['digests']
    report = json.loads(path.with_suffix('.json').read_text())
    assert [row['label'] for row in report['classes']] == CLASSES
    assert [row['threshold'] for row in report['classes']] == pytest.approx(decision.thresholds)
    assert {row['name'] for row in report['scopes']} >= {'own', 'global', 'class'}
    with Image.open(path.with_suffix('.png')) as picture:
        assert min(picture.size) > 800 and np.asarray(picture.convert('RGB')).std() > 10


def test_tests_take_it_unless_told_otherwise(trained, tuned):
    config, plain = trained
    own, _ = metrics_of(config, plain)
    taken, said = metrics_of(config, tuned[1])
    assert read_decision(load_weights_only(str(tuned[1]))).summary() in said
    assert 'MultiLabelMetric keeps its own thr' in said
    # One rule for the scores' metric and for that of the predicted labels.
    for name in ('CF1', 'OF1', 'CP', 'CR'):
        assert taken[f'multi-label/{name}'] == pytest.approx(taken[f'label-set/{name}'])
    assert taken['multi-label/CF1'] > own['multi-label/CF1'] + 10
    assert taken['multi-label/mAP'] == pytest.approx(own['multi-label/mAP'])
    assert metrics_of(config, tuned[1], '--ignore-decision')[0] == own
    everything, _ = metrics_of(config, tuned[1], '--threshold', '0')
    assert everything['multi-label/CR'] == everything['label-set/CR'] == 100


def test_the_scores_of_a_file_give_the_same(trained, tuned):
    config, plain = trained
    folder = plain.parent
    for name, checkpoint in (('plain.pkl', plain), ('tuned.pkl', tuned[1])):
        done = run_tool('test.py', config, checkpoint, '--out', folder / name, cwd=folder)
        assert done.returncode == 0, done.stderr
    done = run_tool(TUNE, config, plain, '--predictions', 'plain.pkl', '--out', 'again.pth', cwd=folder)
    assert done.returncode == 0, done.stderr
    first, second = (
        read_decision(torch.load(p, weights_only=False)) for p in (tuned[1], folder / 'again.pth')
    )
    assert (first.thresholds, first.scale) == (second.thresholds, second.scale)
    done = run_tool(TUNE, config, plain, '--predictions', 'tuned.pkl', '--out', 'other.pth', cwd=folder)
    assert done.returncode == 1 and '--ignore-decision' in done.stderr
    samples = load_predictions(str(folder / 'tuned.pkl'))
    assert {s['stored_decision'] for s in samples} == {first.summary()}


@pytest.mark.parametrize('flags', [[], ['--no-ema']])
def test_what_is_published_keeps_it_with_its_weights(trained, tuned, tmp_path, monkeypatch, flags):
    checkpoint = load_weights_only(str(tuned[1]))
    averages = checkpoint['ema_state_dict']
    averages['module.head.fc.bias'] = averages['module.head.fc.bias'] + 1
    add_digests(checkpoint)
    torch.save(checkpoint, tmp_path / 'tuned.pth')
    tool = Path(mmpretrain.__file__).parent / '.mim' / 'tools' / 'model_converters' / 'publish_model.py'
    monkeypatch.setattr(sys, 'argv', ['', str(tmp_path / 'tuned.pth'), str(tmp_path / 'public.pth'), *flags])
    monkeypatch.setattr(torch, 'load', partial(torch.load, weights_only=False))  # of torch before 2.6
    runpy.run_path(str(tool), run_name='__main__')
    monkeypatch.undo()
    (published,) = tmp_path.glob('public*')
    model = get_model(Config.fromfile(trained[0]), device='cpu')
    assert read_decision(torch.load(published, weights_only=True)) == read_decision(checkpoint)
    if flags:
        with pytest.raises(UserError, match='for the averaged weights'):
            load_trained(model, str(published))
    else:
        load_trained(model, str(published))


def test_training_on_leaves_it_behind(trained, tuned):
    config, _ = trained
    flags = ('--work-dir', tuned[1].parent / 'more', '--cfg-options', 'train_cfg.max_epochs=2')
    done = run_tool('train.py', config, '--resume', tuned[1], *flags, cwd=tuned[1].parent)
    assert done.returncode == 0, done.stderr
    later = load_weights_only(str(tuned[1].parent / 'more' / 'epoch_2.pth'))
    assert read_decision(later) is None and later['meta']['epoch'] == 2


def test_other_targets_and_what_cannot_be(trained, tuned):
    config, plain = trained
    folder = plain.parent

    def tune(*flags, config=config, checkpoint=plain):
        return run_tool(TUNE, config, checkpoint, *flags, cwd=folder)

    done = tune('--target', 'recall=0.9', '--scope', 'class', '--calibrate', 'none', '--out', 'recall.pth')
    assert done.returncode == 0, done.stderr
    decision = read_decision(load_weights_only(str(folder / 'recall.pth')))
    assert (decision.criterion, decision.scope, decision.calibration) == ('recall=0.9', 'class', 'none')
    rows = json.loads((folder / 'recall.json').read_text())['classes']
    assert all(row['recall_tuned'] >= 0.9 for row in rows)
    done = tune('--halves', '2')
    assert done.returncode == 0, done.stderr
    gains = re.findall(r'^\| [01] \|.*\| ([+-][\d.]+) ± ', done.stdout, re.MULTILINE)
    assert len(gains) == 2 and min(map(float, gains)) > 0
    for flags, said in {
        (): 'exists and is not overwritten',
        ('--target', 'best', '--out', 'a.pth'): 'the target must be',
        ('--classes', 'pink', '--out', 'a.pth'): 'the model has no pink',
        ('--classes', *'abcdefgh', '--out', 'a.pth'): 'at most 7 are drawn, got 8',
    }.items():
        done = tune(*flags)
        assert done.returncode == 1 and said in done.stderr and 'Traceback' not in done.stderr
    assert not (folder / 'a.pth').exists()


def test_a_picture_that_cannot_be_read_is_named(trained, tmp_path, repo_root):
    config, plain = trained
    entries = [dict(img_path='a.png', gt_label=[0])]
    (tmp_path / 'labels.json').write_text(json.dumps(dict(metainfo=dict(classes=CLASSES), data_list=entries)))
    (tmp_path / 'a.png').write_bytes((plain.parent.parent / '0.png').read_bytes()[:100])
    cfg = Config.fromfile(config)
    cfg.val_dataloader.dataset.update(data_root=str(tmp_path), ann_file=str(tmp_path / 'labels.json'))
    predict = runpy.run_path(str(repo_root / 'tools' / TUNE))['predict']
    with pytest.raises(UserError, match=r'a\.png can not be read as a picture: it is damaged'):
        predict(get_model(cfg, device='cpu'), cfg, 'val')


def test_a_single_label_gets_a_temperature(tmp_path):
    config = write_tiny_run(tmp_path, 24)
    torch.save(get_model(Config.fromfile(config), device='cpu').state_dict(), tmp_path / 'a.pth')
    done = run_tool(TUNE, config, 'a.pth', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'no thresholds to choose' in done.stdout
    decision = read_decision(torch.load(tmp_path / 'a_tuned.pth', weights_only=True))
    assert decision.activation == 'softmax' and not decision.thresholds
    done = run_tool('test.py', config, 'a_tuned.pth', cwd=tmp_path)
    assert done.returncode == 0, done.stderr

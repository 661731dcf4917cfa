"""Training-free CSRA and the lam search against models built and evaluated one lam at a time."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.models import build_classifier
from mmpretrain.structures import DataSample
from sklearn.metrics import average_precision_score
from tiny_run import TOOLS, run_tool

from mmlattn.apis.training_free import PooledTerms, collect_terms, search_lam, training_free_model

TUNE = 'analysis_tools/tune_csra.py'

LINEAR = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='MultiLabelLinearClsHead', num_classes=5, in_channels=32),
    data_preprocessor=dict(mean=[0, 0, 0], std=[255, 255, 255], num_classes=5),
)


def batches(count=3):
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        images = torch.randint(0, 255, (4, 3, 32, 32), generator=generator)
        labels = (torch.rand(4, 5, generator=generator) < 0.4).long()
        yield dict(
            inputs=list(images), data_samples=[DataSample().set_gt_label(x.nonzero()[:, 0]) for x in labels]
        )


@pytest.fixture
def linear():
    torch.manual_seed(0)
    model = build_classifier(LINEAR).eval()
    torch.nn.init.normal_(model.head.fc.weight)
    return model


@torch.no_grad()
@pytest.mark.parametrize('temperature', [99, 2])
def test_one_pass_equals_a_model_per_lam(linear, temperature):
    lams = [0.0, 0.3, 1.0]
    model = build_classifier(training_free_model(LINEAR, temperature))
    model.load_state_dict(linear.state_dict(), strict=True)
    data = list(batches())
    found = search_lam(collect_terms(model, data, [(temperature,)]), lams)
    for lam, got in zip(lams, found.mean_ap[0], strict=True):
        one = build_classifier(training_free_model(LINEAR, temperature, lam)).eval()
        one.load_state_dict(linear.state_dict(), strict=True)
        scores, targets = [], []
        for batch in data:
            for sample in one.test_step(batch):
                scores.append(sample.pred_score.numpy())
                targets.append(np.bincount(sample.gt_label, minlength=5))
        expected = average_precision_score(np.stack(targets), np.stack(scores), average='macro')
        assert got == pytest.approx(expected, abs=1e-7)
        if lam == 0:
            stock = torch.stack([s.pred_score for batch in data for s in linear.test_step(batch)])
            torch.testing.assert_close(torch.tensor(np.stack(scores)), stock)


@torch.no_grad()
@pytest.mark.parametrize('neck', [LINEAR['neck'], None])
def test_our_linear_head_is_converted_with_and_without_a_neck(neck):
    head = dict(type='mmlattn.LinearMultiLabelHead', num_classes=5, in_channels=32, unknown='negative')
    cfg = {**LINEAR, 'neck': neck, 'head': head}
    torch.manual_seed(0)
    linear = build_classifier(cfg).eval()
    csra = build_classifier(training_free_model(cfg)).eval()
    csra.load_state_dict(linear.state_dict(), strict=True)
    assert csra.head.unknown == 'negative'
    for batch in batches(1):
        ours, theirs = (
            torch.stack([s.pred_score for s in model.test_step(batch)]) for model in (csra, linear)
        )
        torch.testing.assert_close(ours, theirs)


def test_search_prefers_the_plainest_of_equals_and_skips_absent_classes():
    base = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1]], dtype=np.float32)
    targets = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.int8)
    found = search_lam(PooledTerms(base, np.zeros((2, 2, 3), np.float32), targets), [0.0, 0.5])
    assert (found.mean_ap == 1).all() and (found.best_setting, found.best_lam) == (0, 0.0)
    with pytest.raises(ValueError, match='no class has a positive'):
        search_lam(PooledTerms(base, base[None], np.zeros_like(targets)), [0.0])


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(neck=None), 'GlobalAveragePooling'),
        (dict(neck=dict(type='GlobalAveragePooling', dim=1)), 'GlobalAveragePooling'),
        (dict(head=dict(type='mmpretrain.CSRAClsHead')), 'linear layer'),
        (dict(head=dict(type='StackedLinearClsHead')), 'linear layer'),
        (dict(head=dict(type='mmlattn.LinearMultiLabelHead', pool='max')), 'linear layer'),
    ],
)
def test_models_it_cannot_convert(changed, message):
    with pytest.raises(ValueError, match=message):
        training_free_model({**LINEAR, **changed})


@pytest.mark.slow
def test_tool_writes_a_checkpoint_that_scores_as_printed(linear, tmp_path, coco_root):
    config = tmp_path / 'linear.py'
    data = dict(
        type='mmlattn.COCOMultiLabel',
        data_root=str(coco_root),
        ann_file='annotations/instances_train2017.json',
        data_prefix='train2017',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(32, 32)),
            dict(type='PackInputs'),
        ],
    )
    model = {**LINEAR, 'head': {**LINEAR['head'], 'num_classes': 80}}
    loader = dict(
        batch_size=8,
        dataset=data,
        sampler=dict(type='DefaultSampler'),
        collate_fn=dict(type='default_collate'),
    )
    Config(dict(default_scope='mmpretrain', model=model, val_dataloader=loader)).dump(str(config))
    weights, out = tmp_path / 'linear.pth', tmp_path / 'csra.pth'
    torch.save(build_classifier(model).state_dict(), weights)
    args = [config, weights, '--lams', '0.1', '0.2', '--temperatures', '2', '--out', out]
    # Once as its users start it: nothing is imported but what it imports itself.
    done = subprocess.run([sys.executable, TOOLS / TUNE, *args], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith('best on'))
    lam = float(line.split('lam=')[1].split(',')[0])
    csra = build_classifier(training_free_model(model, 2.0, lam)).eval()
    load_checkpoint(csra, str(out), strict=True)
    scores, targets = [], []
    with torch.no_grad():
        for batch in Runner.build_dataloader(loader):
            for sample in csra.test_step(batch):
                scores.append(sample.pred_score.numpy())
                targets.append(np.bincount(sample.gt_label, minlength=80))
    present = np.stack(targets).any(0)
    expected = average_precision_score(np.stack(targets)[:, present], np.stack(scores)[:, present])
    assert float(line.split('mAP ')[1]) == pytest.approx(100 * expected, abs=0.006)
    for place, words in ((out, 'not overwritten'), (tmp_path / 'csra.npz', 'what is written is no .npz')):
        again = run_tool(TUNE, *args[:-1], place, cwd=tmp_path)
        assert again.returncode != 0 and words in again.stderr


def test_head_keeps_its_loss_and_decision():
    head = dict(LINEAR['head'], topk=2, loss=dict(type='AsymmetricLoss'))
    kept = training_free_model(dict(LINEAR, head=head))['head']
    assert (kept['topk'], kept['loss']) == (2, dict(type='AsymmetricLoss'))

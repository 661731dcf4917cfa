"""A head trained on stored features becomes a checkpoint, and what a known label is worth to it, with real tools."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmpretrain.apis import get_model
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score
from tiny_run import run_tool

from mmlattn.apis import MultiLabelInferencer
from mmlattn.apis.told import training_sets
from mmlattn.datasets import PlainMultiLabel
from mmlattn.evaluation.functional.known_labels import draw_known, given_known, odds_ratios
from mmlattn.utils.errors import UserError

COMPLETE, KNOWN = 'model_converters/complete_weights.py', 'analysis_tools/known_labels.py'
HEADS = dict(
    linear="dict(type='MultiLabelLinearClsHead', num_classes=4, in_channels=32, thr=0.5)",
    cnn_rnn="dict(type='mmlattn.CNNRNNHead', num_classes=4, in_channels=32, order='random')",
)
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4, norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=FOLDER + '/backbone.pth')),
    neck=dict(type='GlobalAveragePooling'), head=HEAD)
data_preprocessor = dict(mean=[127.5] * 3, std=[64.0] * 3, num_classes=4, to_onehot=True)
loader = dict(
    batch_size=16, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmlattn.PlainMultiLabel', ann_file=FOLDER + '/labels.json', data_root=FOLDER,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
train_dataloader = test_dataloader = loader
test_evaluator = dict(type='mmlattn.MultiLabelReport')
test_cfg = dict()
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Forty pictures of labels that go together, and for each head its config, all its weights, and a checkpoint."""
    folder = tmp_path_factory.mktemp('known')
    rng = np.random.default_rng(0)
    sets = rng.random((40, 4)) < [0.5, 0.4, 0.3, 0.6]
    sets[:, 1] |= sets[:, 0]
    listed = []
    for number, labels in enumerate(sets):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f'{number}.png')
        listed.append(dict(img_path=f'{number}.png', gt_label=np.flatnonzero(labels).tolist()))
    content = dict(metainfo=dict(classes=list('abcd')), data_list=listed)
    (folder / 'labels.json').write_text(json.dumps(content))
    for name, head in HEADS.items():
        config = folder / f'{name}.py'
        config.write_text(CONFIG.replace('FOLDER', repr(str(folder))).replace('HEAD', head))
        torch.manual_seed(0)
        model = get_model(str(config), device='cpu')
        if not (folder / 'backbone.pth').exists():
            torch.save(model.backbone.state_dict(), folder / 'backbone.pth')
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter, std=0.2)  # no score rounds to 1
        state = model.state_dict()
        weights = {key: value for key, value in state.items() if not key.startswith('backbone.')}
        torch.save(dict(state_dict=weights), folder / f'{name}_head.pth')
        done = run_tool(COMPLETE, config, f'{name}_head.pth', f'{name}.pth', cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_a_completed_checkpoint_has_backbone_head_and_classes(folder):
    checkpoint = torch.load(folder / 'linear.pth', weights_only=True)
    backbone = torch.load(folder / 'backbone.pth', weights_only=True)
    head = torch.load(folder / 'linear_head.pth', weights_only=True)['state_dict']
    expected = head | {f'backbone.{key}': value for key, value in backbone.items()}
    assert checkpoint['state_dict'].keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in checkpoint['state_dict'].items())
    assert tuple(checkpoint['meta']['dataset_meta']['classes']) == tuple('abcd')
    assert (
        len(MultiLabelInferencer(folder / 'linear.py', folder / 'linear.pth')([str(folder / '0.png')])) == 1
    )


@pytest.mark.parametrize(
    ('weights', 'target', 'message'),
    [
        ('linear_head.pth', 'linear.pth', 'linear.pth exists and is not overwritten'),
        ('linear_head.pth', 'again.npz', 'what is written is no .npz'),
        ('linear.pth', 'again.pth', 'has a backbone already'),
        ('cnn_rnn_head.pth', 'again.pth', 'holds the weights of another model'),
    ],
)
def test_what_can_not_be_completed_is_refused(folder, weights, target, message):
    done = run_tool(COMPLETE, 'linear.py', weights, target, cwd=folder)
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert not list(folder.glob('again.*'))


def test_labels_of_several_data_sets_are_counted_and_only_those_of_the_head(folder):
    one = PlainMultiLabel(ann_file=str(folder / 'labels.json'), data_root=str(folder))
    sets = training_sets(one, 4)
    assert [np.flatnonzero(row).tolist() for row in sets] == [one.get_cat_ids(n) for n in range(40)]
    for twice in (ConcatDataset([one, one]), RepeatDataset(one, 2)):
        np.testing.assert_array_equal(training_sets(twice, 4), np.concatenate([sets] * 2))
    with pytest.raises(UserError, match='has images with label 3, but the head has num_classes=3'):
        training_sets(one, 3)
    with pytest.raises(UserError, match='list cannot tell which labels'):
        training_sets([1], 4)


def expected_of(scores, sets, targets, known):
    """Of the labels that are not known, by scikit-learn and plain counting."""
    judged = np.ones(targets.shape, bool)
    judged[np.arange(len(known))[known >= 0], known[known >= 0]] = False
    precision = [
        average_precision_score(targets[rows, c], scores[rows, c])
        for c, rows in enumerate(judged.T)
        if targets[rows, c].any()
    ]
    return dict(
        mAP=100 * np.mean(precision),
        exact=100 * ((sets == targets) | ~judged).all(axis=1).mean(),
        OF1=100 * f1_score(targets[judged], sets[judged]),
    )


@pytest.mark.parametrize(('name', 'way'), [('linear', 'counted'), ('cnn_rnn', 'told')])
def test_the_tool_says_what_known_labels_are_worth(folder, tmp_path, name, way):
    out = tmp_path / 'known.json'
    done = run_tool(
        KNOWN, folder / f'{name}.py', folder / f'{name}.pth', '--draws', 2, '--out', out, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found.keys() == {'without', way} and way in done.stdout

    content = json.loads((folder / 'labels.json').read_text())
    targets = np.zeros((40, 4), bool)
    for row, item in zip(targets, content['data_list'], strict=True):
        row[item['gt_label']] = True
    inferencer = MultiLabelInferencer(folder / f'{name}.py', folder / f'{name}.pth')
    pictures = [str(folder / f'{number}.png') for number in range(40)]

    def ask(**options):
        results = inferencer(pictures, **options)
        sets = np.zeros((40, 4), bool)
        for row, result in zip(sets, results, strict=True):
            row[result['pred_labels']] = True
        return np.stack([result['pred_scores'] for result in results]), sets

    scores, sets = ask()
    for draw in range(2):
        known = draw_known(targets.astype(np.int8), np.random.default_rng(draw))
        if way == 'counted':
            told = given_known(scores, known, odds_ratios(targets))
            told = told, told >= 0.5
        else:
            images = {f'{n}.png': dict(present=['abcd'[k]]) for n, k in enumerate(known) if k >= 0}
            told = ask(constraints=dict(images=images))
        for key, made in (('without', (scores, sets)), (way, told)):
            expected = expected_of(*made, targets, known)
            got = {measure: found[key][draw][measure] for measure in expected}
            assert got == pytest.approx(expected, abs=1e-3), (key, draw)
    again = run_tool(KNOWN, folder / f'{name}.py', folder / f'{name}.pth', '--out', out, cwd=folder)
    assert again.returncode == 1 and 'is not overwritten' in again.stderr

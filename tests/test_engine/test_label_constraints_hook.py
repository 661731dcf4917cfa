"""Constraints from a file, in runs of the real tool and of the Runner, with a label decoder."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.apis import get_model
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import run_tool

from mmlattn.engine import LabelConstraintsHook
from mmlattn.engine.hooks.label_constraints import constrained
from mmlattn.structures import LabelRules
from mmlattn.utils.errors import UserError
from mmlattn.utils.predictions import load_predictions

CLASSES = ('person', 'cat', 'dog', 'dining table', 'fork')
RULES = dict(exclusive=[['cat', 'dog']], parents={'fork': ['dining table']})
IMAGES = {
    'a/0.png': dict(present=['cat'], count=3),
    '1.png': dict(present=['fork'], absent=['person', 'cat', 'dog']),
    'elsewhere.png': dict(present=['person']),
}
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet_CIFAR', depth=18, stem_channels=4, base_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmlattn.CNNRNNHead', num_classes=5, in_channels=32, order='random_fixed', with_evidence=True,
        decoder=dict(type='joint', embed_dims=8, hidden_dims=8),
        test_cfg=dict(beam=8, min_len=2, constraints=CONSTRAINTS)))
data_preprocessor = dict(mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True)
loader = dict(
    batch_size=3, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmlattn.PlainMultiLabel', ann_file=FOLDER + '/labels.json', data_root=FOLDER,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]))
test_dataloader = val_dataloader = loader
test_evaluator = val_evaluator = dict(type='mmlattn.MultiLabelReport')
test_cfg = val_cfg = dict()
custom_hooks = [dict(type='mmlattn.LabelConstraintsHook', file=FOLDER + '/known.json')]
default_hooks = dict(visualization=dict(type='mmlattn.EvidenceVisualizationHook', enable=False))
visualizer = dict(type='mmlattn.EvidenceVisualizer', cell_size=80)
work_dir = FOLDER + '/run'
"""


@pytest.fixture
def run(tmp_path):
    """Folder of a run with four pictures, two of them of one name: config, checkpoint, constraints."""
    rng = np.random.default_rng(0)
    paths = ['a/0.png', 'b/0.png', 'a/1.png', 'a/2.png']
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / path)
    items = [dict(img_path=path, gt_label=[0, 3]) for path in paths]
    (tmp_path / 'labels.json').write_text(json.dumps(dict(metainfo=dict(classes=CLASSES), data_list=items)))
    (tmp_path / 'known.json').write_text(json.dumps(dict(rules=RULES, images=IMAGES)))
    text = CONFIG.replace('FOLDER', repr(str(tmp_path)))
    (tmp_path / 'config.py').write_text(text.replace('CONSTRAINTS', 'dict(absent=[2])'))
    (tmp_path / 'free.py').write_text(text.replace('CONSTRAINTS', 'None').replace('custom_hooks', 'no_hooks'))
    torch.manual_seed(0)
    model = get_model(Config.fromfile(tmp_path / 'config.py'), device='cpu')
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    return tmp_path


def test_the_tool_hands_constraints_to_the_decoder(run):
    """Predictions keep them; a picture of which nothing is known is read as before, but for the rules for all."""
    options = ('--constraints', 'known.json', '--show-dir', 'shown')
    results = {}
    for name, given in dict(free=(), known=options).items():
        done = run_tool('test.py', 'free.py', 'model.pth', '--out', f'{name}.pkl', *given, cwd=run)
        assert done.returncode == 0, done.stderr
        results[name] = load_predictions(run / f'{name}.pkl')
    cat, free, fork, other = (set(sample['pred_label'].tolist()) for sample in results['known'])
    assert 1 in cat and 2 not in cat and len(cat) == 3
    assert fork == {3, 4}, 'the fork needs a table, all else is absent'
    for labels in (cat, free, fork, other):
        assert not {1, 2} <= labels and (4 not in labels or 3 in labels)
    assert [sample.get('label_count') for sample in results['known']] == [3, None, None, None]
    assert results['known'][2]['label_absent'].tolist() == [0, 1, 2]
    for before, after in zip(results['free'], results['known'], strict=True):
        labels = set(before['pred_label'].tolist())
        assert len(labels) >= 2
        may_stay = not {1, 2} <= labels and (4 not in labels or 3 in labels)
        if may_stay and not after.keys() & {'label_present', 'label_count'}:
            assert before['label_path'].tolist() == after['label_path'].tolist()
    assert 'known.json: 1 of 3 images fit no picture: elsewhere.png' in done.stdout + done.stderr
    assert len(list((run / 'shown').rglob('*.png'))) == 4, 'two pictures have one name, in two folders'


def test_flipped_copies_know_it_too(run):
    """Test-time augmentation nests the samples, averages their scores, and decides on them by the rules."""
    options = ('--tta', '--out', 'tta.pkl', '--constraints', 'known.json')
    options += ('--cfg-options', 'model.head.test_cfg.max_len=4')
    done = run_tool('test.py', 'free.py', 'model.pth', *options, cwd=run)
    assert done.returncode == 0, done.stderr
    predictions = load_predictions(run / 'tta.pkl')
    sets = [set(sample['pred_label'].tolist()) for sample in predictions]
    assert 1 in sets[0] and len(sets[0]) == 3 and sets[2] == {3, 4}
    for labels in sets:
        assert 2 <= len(labels) <= 4 and not {1, 2} <= labels and (4 not in labels or 3 in labels)
    scores = [sample['pred_score'] for sample in predictions]
    assert scores[0][1] > 0.99 and scores[0][2] < 0.01
    assert (scores[2][3:] > 0.99).all() and (scores[2][:3] < 0.01).all()


@pytest.mark.parametrize('mode', ['val', 'test'])
def test_rules_of_the_config_are_joined_and_come_back(run, mode):
    cfg = Config.fromfile(run / 'config.py')
    other = 'test' if mode == 'val' else 'val'
    for part in ('dataloader', 'evaluator', 'cfg'):
        cfg.pop(f'{other}_{part}')
    cfg.experiment_name = f'{run.name}_{mode}'
    runner = Runner.from_cfg(cfg)
    before, seen = runner.model.head.rules, []
    predict = runner.model.head.predict
    runner.model.head.predict = lambda *args, **kwargs: (
        seen.append(runner.model.head.rules) or predict(*args, **kwargs)
    )
    getattr(runner, mode)()
    assert seen == 2 * [LabelRules((), (2,), ((1, 2),), {4: (3,)}, None)]
    assert runner.model.head.rules is before and before == LabelRules(absent=(2,))


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (
            dict(images={'x/0.png': {}}),
            r'1 of 1 images fit no picture: x/0.png. Name the pictures of the data',
        ),
        (dict(images={'0.png': {}}), r"'0.png' fits \S+a/0.png and \S+b/0.png; give more of the path"),
        (
            dict(rules=dict(present=['dog'])),
            "rules, with those of the config: 'dog' is both present and absent",
        ),
        (dict(rules=dict(present=['dgo'])), r"no class 'dgo' \(did you mean 'dog'\?\)"),
    ],
)
def test_files_that_do_not_fit_are_refused_before_the_first_batch(run, content, said):
    (run / 'known.json').write_text(json.dumps(content))
    cfg = Config.fromfile(run / 'config.py')
    model = get_model(cfg, device='cpu')
    before = model.head.rules
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(cfg.test_dataloader)
    runner = SimpleNamespace(model=model, test_loop=SimpleNamespace(dataloader=loader))
    with pytest.raises(UserError, match=said):
        LabelConstraintsHook(str(run / 'known.json')).before_test(runner)
    if 'rules' in content:
        assert model.head.rules is before


def test_the_command_line_is_read_first(run):
    done = run_tool('test.py', 'free.py', 'model.pth', '--constraints', 'none.json', cwd=run)
    assert done.returncode == 2 and 'there is no file --constraints none.json' in done.stderr


@pytest.mark.parametrize(
    ('model', 'said'),
    [
        (dict(head=dict(type='LinearClsHead', num_classes=5, in_channels=32)), 'LinearClsHead takes no constraints'),
        (dict(head=None), 'ImageClassifier takes no constraints; label decoders such as CNNRNNHead do'),
        (dict(type='mmlattn.MultiCropClassifier'), 'constraints say what is in a picture, not in crops of it'),
    ],
)  # fmt: skip
def test_models_that_could_not_heed_them(run, model, said):
    cfg = Config.fromfile(run / 'free.py').model
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = MODELS.build(dict(cfg, **model))
    with pytest.raises(UserError, match=said), constrained(built, RULES, CLASSES):
        pass

"""Weights of classes from the annotations: counted once, unknown labels left out, whose they are after a resume."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATA_SAMPLERS, DATASETS, MODELS
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from mmlattn.engine.label_counts import count_known_labels
from mmlattn.structures import label_matrix
from mmlattn.utils.checkpoint.loading import use_safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import load_all_weights

# (present, unknown): class 1 is in three pictures, and unknown in one; class 3 is known in two.
PICTURES = [([1], []), ([1, 0], [3]), ([], [1, 3]), ([1, 3], []), ([0], [3]), ([0, 0], [3])]
COUNTS = [[3, 3, 0, 1], [6, 5, 6, 2]]
OTHERS = [([2], []), ([2], [0])]
OTHERS_COUNTS = [[0, 0, 2, 0], [1, 2, 2, 2]]


@MODELS.register_module()
class WeighedModel(BaseModel):
    """A head with a bias for each class and a loss that weighs classes."""

    def __init__(self, loss, num_classes=4, pretrained=None):
        super().__init__(init_cfg=pretrained and dict(type='Pretrained', checkpoint=pretrained))
        self.head = torch.nn.Module()
        self.head.num_classes = num_classes
        self.head.bias = torch.nn.Parameter(torch.zeros(4))
        self.head.loss_module = MODELS.build(loss)

    def forward(self, data_samples, mode):
        scores = self.head.bias.expand(len(data_samples), -1)
        return dict(loss=self.head.loss_module(scores, label_matrix(data_samples, 4)))


def write(path, pictures):
    data_list = [
        dict(img_path=f'{i}.png', gt_label=present, gt_label_ignore=unknown)
        for i, (present, unknown) in enumerate(pictures)
    ]
    path.write_text(json.dumps(dict(metainfo={}, data_list=data_list)))
    return str(path)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels')
    return write(folder / 'ours.json', PICTURES), write(folder / 'others.json', OTHERS)


def multi_label(ann_file, **options):
    options |= dict(serialize_data=False, metainfo=dict(classes=list('abcd')))
    return dict(type='mmpretrain.MultiLabelDataset', ann_file=ann_file, **options)


BALANCED = dict(type='mmlattn.MaskedBCELoss', pos_weight='balanced', max_pos_weight=4)
LOSSES = [BALANCED, dict(type='mmlattn.DistributionBalancedLoss')]
_names = itertools.count()


def train(ann_file, work_dir, kind=Runner, hook='mmlattn.LabelFrequencyHook', **options):
    """The checkpoint that a training leaves, and its log."""
    use_safe_loading()
    config = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='WeighedModel', loss=BALANCED),
            train_dataloader=dict(
                batch_size=3,
                num_workers=0,
                dataset=multi_label(
                    ann_file, pipeline=[dict(type='PackInputs', algorithm_keys=['gt_label_ignore'])]
                ),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=[dict(type='EMAHook', momentum=0.1, priority='ABOVE_NORMAL'), dict(type=hook)],
            work_dir=str(work_dir),
            experiment_name=f'class_weights{next(_names)}',
        )
        | options
    )
    if kind is FlexibleRunner:
        del config.custom_hooks[0]  # mmengine's EMA needs the other one
        config.merge_from_dict(dict(env_cfg=dict(), randomness=dict(seed=0)))
    runner = kind.from_cfg(config)
    runner.train()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    return str(work_dir / f'epoch_{runner.max_epochs}.pth'), log


def stored_counts(checkpoint):
    """In the weights, and in EMA's."""
    states = torch.load(checkpoint, weights_only=False)  # written by the test itself
    found = [states['state_dict']['head.loss_module.class_counts.counts'].tolist()]
    if 'ema_state_dict' in states:
        found.append(states['ema_state_dict']['module.head.loss_module.class_counts.counts'].tolist())
    return found


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    return train(data[0], tmp_path_factory.mktemp('trained'))


def test_unknown_labels_are_no_negatives(data):
    plain = multi_label(data[0])
    assert count_known_labels(DATASETS.build(plain), 4).tolist() == COUNTS
    wrapped = dict(
        type='mmlattn.SeededDataset',
        dataset=dict(
            type='ConcatDataset',
            datasets=[dict(type='RepeatDataset', times=2, dataset=plain), multi_label(data[1])],
        ),
    )
    expected = 2 * torch.tensor(COUNTS) + torch.tensor(OTHERS_COUNTS)
    assert count_known_labels(DATASETS.build(wrapped), 4).equal(expected)


def test_counts_are_kept_and_told(trained):
    checkpoint, log = trained
    assert stored_counts(checkpoint) == [COUNTS, COUNTS]
    told = 'MaskedBCELoss (head.loss_module): present labels weigh 0.667 to 4 times as much as absent ones; 1 of 4'
    assert told in log and 'held at max_pos_weight=4' in log


@pytest.mark.parametrize('kind', [Runner, FlexibleRunner])
@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(resume=True, train_cfg=dict(by_epoch=True, max_epochs=2)), COUNTS),
        (dict(), OTHERS_COUNTS),
        (dict(load_from=None, model='pretrained'), OTHERS_COUNTS),
    ],
    ids=['resumed', 'new with weights', 'new with init_cfg'],
)
def test_whose_counts_hold(options, expected, kind, data, trained, tmp_path):
    """The run's data is always the other data set."""
    options = dict(load_from=trained[0]) | options
    if options.get('model') == 'pretrained':
        options['model'] = dict(type='WeighedModel', loss=BALANCED, pretrained=trained[0])
    checkpoint, _ = train(data[1], tmp_path, kind, **options)
    found = stored_counts(checkpoint)
    assert found == [expected] * (1 if kind is FlexibleRunner else 2)


def test_resumed_run_equals_one_that_never_stopped(data, trained, tmp_path):
    """With the distribution-balanced loss, whose bias depends on the counts."""
    model = dict(type='WeighedModel', loss=LOSSES[1])
    two = dict(by_epoch=True, max_epochs=2)
    whole, _ = train(data[0], tmp_path / 'whole', model=model, train_cfg=two)
    first = str(tmp_path / 'whole' / 'epoch_1.pth')
    rest, _ = train(data[0], tmp_path / 'rest', model=model, train_cfg=two, resume=True, load_from=first)
    biases = [torch.load(path, weights_only=False)['state_dict']['head.bias'] for path in (whole, rest)]
    assert torch.equal(*biases) and biases[0].abs().min() > 0


def test_a_model_is_tested_with_any_loss(trained):
    """Trained with counts and built without, and the other way round; other weights are still missed."""
    checkpoint = torch.load(trained[0], weights_only=False)
    plain = WeighedModel(dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True))
    load_all_weights(plain, checkpoint, 'balanced.pth')
    assert torch.equal(plain.head.bias, checkpoint['state_dict']['head.bias'])
    load_all_weights(WeighedModel(BALANCED), plain.state_dict(), 'plain.pth')
    with pytest.raises(UserError, match=r'without a place are head\.other'):
        load_all_weights(plain, {**checkpoint['state_dict'], 'head.other': torch.ones(1)}, 'other.pth')


PAGE = Path(__file__).parents[2] / 'docs' / 'imbalance.md'


@pytest.mark.parametrize('block', re.findall(r'^```python\n(.*?)^```', PAGE.read_text(), flags=re.M | re.S))
def test_the_lines_of_the_page_are_a_config(block, data, tmp_path):
    """On top of one of ours that has no loss and another sampler."""
    assert len(block.splitlines()) <= 3
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = ['{PAGE.parents[1]}/configs/csra_r101_coco.py']\n{block}")
    cfg = Config.fromfile(config)
    sampler, loss = cfg.train_dataloader.sampler, cfg.model.head.get('loss')
    if 'sampler' in block:
        built = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=DATASETS.build(multi_label(data[0]))))
        assert type(built).__name__ == 'ClassAwareSampler'
    if 'loss' in block:
        head = MODELS.build(cfg.model.head)
        assert type(head.loss_module).__name__ == loss.type.removeprefix('mmlattn.')
        counting = any(hook['type'] == 'mmlattn.LabelFrequencyHook' for hook in cfg.custom_hooks)
        assert counting == (getattr(head.loss_module, 'class_counts', None) is not None)


@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss['type'])
def test_what_a_user_got_wrong(loss, data, tmp_path):
    with pytest.raises(UserError, match='which nobody has counted yet: add custom_hooks='):
        train(data[0], tmp_path, hook='IterTimerHook', model=dict(type='WeighedModel', loss=loss))
    with pytest.raises(UserError, match='no module around it has num_classes'):
        train(data[0], tmp_path, model=dict(type='WeighedModel', loss=loss, num_classes=None))
    with pytest.raises(UserError, match='has images with label 3, but the head has num_classes=3'):
        train(data[0], tmp_path, model=dict(type='WeighedModel', loss=loss, num_classes=3))

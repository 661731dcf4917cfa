"""Label frequencies: counted through every wrapper, known before the first loss, and whose they are afterwards."""

import itertools
import json
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner
from mmpretrain.datasets import CustomDataset, MultiLabelDataset
from tiny_run import free_port, run_tool

from mmlattn.engine.hooks.label_frequency import LabelFrequencyHook, count_labels
from mmlattn.engine.reproducibility import SeededDataset
from mmlattn.models import CNNRNNHead
from mmlattn.utils.checkpoint.loading import use_safe_loading
from mmlattn.utils.errors import UserError

NUM_LABELS = 5
# Label 4 is in five images, 1 in three, 2 in two, 0 in one, 3 in none; an image lists one of them twice.
IMAGES = [[4, 1], [4], [2, 4, 1], [], [1, 4, 1], [4, 2, 0]]
RANK = [3, 1, 2, 4, 0]
# The same labels counted backwards: 4 - l.
OTHERS_RANK = [0, 4, 2, 1, 3]


def make_head(**settings):
    return CNNRNNHead(NUM_LABELS, 1, decoder=dict(type='joint', embed_dims=2, hidden_dims=2), **settings)


@MODELS.register_module()
class RankedModel(BaseModel):
    """Keeps the ranks of its head and moves its weights."""

    def __init__(self, label_freq=None, pretrained=None):
        super().__init__(init_cfg=pretrained and dict(type='Pretrained', checkpoint=pretrained))
        self.head = make_head(label_freq=label_freq)

    def forward(self, data_samples, mode):
        assert (self.head.label_rank >= 0).all()  # before the first loss
        return dict(loss=sum((p - len(data_samples)).square().sum() for p in self.head.parameters()))


@DATASETS.register_module()
class OneForEachProcess(MultiLabelDataset):
    """Data that differs between processes, as where one of them has an old copy."""

    def __init__(self, ann_file, **options):
        super().__init__(ann_file.format(get_rank()), **options)


def write(path, images):
    data_list = [dict(img_path=f'{i}.png', gt_label=labels) for i, labels in enumerate(images)]
    path.write_text(json.dumps(dict(metainfo={}, data_list=data_list)))
    return str(path)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Annotations of two data sets."""
    folder = tmp_path_factory.mktemp('labels')
    others = [[NUM_LABELS - 1 - label for label in labels] for labels in IMAGES]
    return write(folder / '0.json', IMAGES), write(folder / '1.json', others)


def multi_label(ann_file, **options):
    # Serializing collects all garbage of the process, which takes seconds; a lazy one would not know its classes yet.
    options |= dict(serialize_data=False, metainfo=dict(classes=list('abcde')))
    return dict(type='mmpretrain.MultiLabelDataset', ann_file=ann_file, **options)


def wrappers(ours, others):
    plain, lazy = multi_label(ours), multi_label(ours, lazy_init=True)
    repeat = dict(type='RepeatDataset', times=3, dataset=multi_label(others))
    return {
        'none': plain,
        'lazily': lazy,
        'concat': dict(type='ConcatDataset', datasets=[plain, multi_label(others), lazy]),
        'repeat': repeat,
        'repeat lazily': dict(repeat, dataset=lazy, lazy_init=True),
        'repeat in concat': dict(type='ConcatDataset', datasets=[repeat, plain], lazy_init=True),
        'concat in repeat': dict(
            type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[plain, repeat])
        ),
        'class balanced': dict(type='ClassBalancedDataset', oversample_thr=1.0, dataset=plain),
        'balanced in concat': dict(
            type='ConcatDataset',
            datasets=[plain, dict(type='ClassBalancedDataset', oversample_thr=1.0, dataset=lazy)],
        ),
        'fold': dict(type='mmpretrain.KFoldDataset', fold=1, num_splits=3, dataset=plain),
        'fold lazily': dict(type='mmpretrain.KFoldDataset', fold=0, num_splits=3, seed=1, dataset=lazy),
        'seeded': dict(type='mmlattn.SeededDataset', seed=0, dataset=plain),
        'seeded repeat': dict(type='mmlattn.SeededDataset', seed=0, dataset=repeat),
    }


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', wrappers('', ''))
def test_counts_are_those_of_the_items(name, data):
    """What is served, one by one, is what is counted."""
    dataset = DATASETS.build(wrappers(*data)[name])
    counts = count_labels(dataset, NUM_LABELS)
    expected = [0] * NUM_LABELS
    for index in range(len(dataset)):
        for label in set(dataset[index]['gt_label']):
            expected[label] += 1
    assert counts.tolist() == expected and sum(expected)
    if name == 'none':
        assert expected == [1, 3, 2, 0, 5]


def test_noisy_labels_are_counted_as_they_are_trained(tmp_path):
    """In a data set of one label an image, where each gets the next class's."""
    (tmp_path / 'labels.txt').write_text('\n'.join(f'{i}.png {label}' for i, label in enumerate([0, 0, 2])))
    clean = CustomDataset(ann_file=str(tmp_path / 'labels.txt'), metainfo=dict(classes=list('abc')))
    assert count_labels(clean, 3).tolist() == [2, 0, 1]
    moved = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    noisy = dict(type='mmlattn.NoisyLabels', dataset=clean, kind='matrix', transition=moved)
    assert count_labels(SeededDataset(noisy), 3).tolist() == [1, 2, 0]


_names = itertools.count()


def make_config(ann_file, work_dir, **options):
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['test_label_frequency']),
            model=dict(type='RankedModel'),
            train_dataloader=dict(
                batch_size=3,
                num_workers=0,
                dataset=multi_label(ann_file, pipeline=[dict(type='PackInputs')]),
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=[
                dict(type='EMAHook', momentum=0.1),
                dict(type='mmlattn.LabelFrequencyHook'),
            ],
            work_dir=str(work_dir),
            experiment_name=f'label_frequency{next(_names)}',
        )
        | options
    )


def train(ann_file, work_dir, kind=Runner, **options):
    """The checkpoint that a training leaves."""
    use_safe_loading()
    config = make_config(ann_file, work_dir, **options)
    if kind is FlexibleRunner:
        del config.custom_hooks[0]  # mmengine's EMA needs the other one
        config.merge_from_dict(dict(env_cfg=dict(), randomness=dict(seed=0)))
    runner = kind.from_cfg(config)
    runner.train()
    return str(work_dir / f'epoch_{runner.max_epochs}.pth')


def stored_ranks(checkpoint):
    """In the weights and in EMA's."""
    states = torch.load(checkpoint, weights_only=False)  # written by the test itself
    return [
        states['state_dict']['head.label_rank'].tolist(),
        states['ema_state_dict']['module.head.label_rank'].tolist(),
    ]


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    return train(data[0], tmp_path_factory.mktemp('trained'))


def test_ranks_are_saved_with_the_weights(trained):
    assert stored_ranks(trained) == [RANK, RANK]


TWO = dict(by_epoch=True, max_epochs=2)
GIVEN = dict(type='RankedModel', label_freq=[1, 2, 3, 4, 5])
CASES = {
    # What the run has, and whose ranks it ends with. Its data is always the other data set.
    'resumed': (dict(resume=True, train_cfg=TWO), RANK),
    'resumed though given': (dict(resume=True, train_cfg=TWO, model=GIVEN), [4, 3, 2, 1, 0]),
    'new with weights': (dict(), OTHERS_RANK),
    'new with weights, given': (dict(model=GIVEN), [4, 3, 2, 1, 0]),
    'new with init_cfg': (dict(load_from=None, model='pretrained'), OTHERS_RANK),
    'nothing to resume': (dict(load_from=None, resume=True), OTHERS_RANK),
}


@pytest.mark.parametrize(('options', 'expected'), CASES.values(), ids=CASES)
def test_whose_ranks_hold(options, expected, data, trained, tmp_path):
    options = dict(load_from=trained) | options
    if options.get('model') == 'pretrained':
        options['model'] = dict(type='RankedModel', pretrained=trained)
    checkpoint = train(data[1], tmp_path, **options)
    assert stored_ranks(checkpoint) == [expected, expected]


@pytest.mark.parametrize(('options', 'expected'), CASES.values(), ids=CASES)
def test_whose_ranks_hold_under_the_other_runner(options, expected, data, trained, tmp_path):
    """Which loads before its hooks hear of the run."""
    options = dict(load_from=trained) | options
    if options.get('model') == 'pretrained':
        options['model'] = dict(type='RankedModel', pretrained=trained)
    checkpoint = train(data[1], tmp_path, FlexibleRunner, **options)
    state = torch.load(checkpoint, weights_only=False)['state_dict']  # written by the test itself
    assert state['head.label_rank'].tolist() == expected


def train_one_rank(rank, config, work_dir, port):
    """As torch's launcher starts it."""
    ranks = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({key: str(value) for key, value in ranks.items()})
    folder = work_dir.parent / f'process{rank}'
    folder.mkdir()
    done = run_tool('train.py', config, '--launcher', 'pytorch', '--work-dir', work_dir, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.dist
def test_two_processes_agree_even_if_their_data_does_not(data, tmp_path):
    """Under the wrapper for several processes; the ranks of each are written by itself."""
    config = make_config(data[0].replace('0.json', '{}.json'), tmp_path / 'run')
    config.train_dataloader.dataset.type = 'OneForEachProcess'
    config.custom_imports.imports.append('tiny_run')
    config.custom_hooks.append(dict(type='RankStateHook'))
    config.dump(tmp_path / 'config.py')
    arguments = (tmp_path / 'config.py', tmp_path / 'run', free_port())
    torch.multiprocessing.start_processes(train_one_rank, arguments, 2, start_method='fork')
    for rank in range(2):
        state = torch.load(tmp_path / 'run' / f'rank{rank}.pth', weights_only=True)
        assert state['module.head.label_rank'].tolist() == RANK


@pytest.mark.parametrize(
    'model',
    [
        torch.nn.Linear(2, 2),
        make_head(order='given'),
        make_head(order='random'),
        make_head(order='random_fixed'),
        make_head(align='pla'),
        make_head(label_freq=[1, 2, 3, 4, 5]),
    ],
    ids=['no head', 'given', 'random', 'random_fixed', 'pla', 'label_freq'],
)
def test_what_needs_no_counts_is_left_alone(model):
    """Without asking for any data."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    LabelFrequencyHook().before_train(SimpleNamespace(model=model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_data_that_cannot_tell_is_refused(data, tmp_path):
    with pytest.raises(UserError, match=r'list cannot tell.*get_cat_ids.*label_freq'):
        count_labels([0, 1], 3)
    with pytest.raises(UserError, match='has images with label 4, but the head has num_classes=3'):
        count_labels(DATASETS.build(multi_label(data[0])), 3)
    (tmp_path / 'images.txt').write_text('0.png\n1.png')
    unlabelled = CustomDataset(ann_file=str(tmp_path / 'images.txt'), with_label=False)
    with pytest.raises(UserError, match=r"CustomDataset cannot tell.*KeyError\('gt_label'\)"):
        count_labels(unlabelled, 3)

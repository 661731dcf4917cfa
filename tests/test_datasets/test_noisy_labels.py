"""Label noise: its matrices, its draws, and the wrapper around every kind of data set."""

import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from scipy.stats import binom
from tiny_run import run_tool, write_tiny_run
from torch.utils.data import DataLoader

from mmlattn.datasets import NoisyLabels
from mmlattn.datasets.label_flips import flip_labels, pair_transition, symmetric_transition
from mmlattn.engine import SeededDataset
from mmlattn.utils.checkpoint.loading import load_weights_only
from mmlattn.utils.errors import UserError

CIFAR10 = (
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
)


class Numbers(BaseDataset):
    """Item i shows the number i and is of class i % C; labels come as the loaders of mmpretrain give them."""

    def __init__(self, size=60, classes=CIFAR10, label=int, start=0, key='gt_label', **kwargs):
        self.size, self.label, self.start, self.key = size, label, start, key
        metainfo = {} if classes is None else dict(classes=classes)
        super().__init__('', metainfo=metainfo, **kwargs)

    def load_data_list(self):
        count = len(self._metainfo.get('classes', CIFAR10))
        return [dict(img=self.start + i, **{self.key: self.label(i % count)}) for i in range(self.size)]


@pytest.fixture
def registered():
    DATASETS.register_module(name='NumbersOfTest', module=Numbers)
    yield dict(type='mmpretrain.NumbersOfTest')
    DATASETS.module_dict.pop('NumbersOfTest')


def picked(results):
    """A pipeline in which only some numbers survive."""
    return None if results['img'] % 2 else results


def labels(dataset):
    return [dataset[i]['gt_label'] for i in range(len(dataset))]


def test_matrices():
    expected = np.full((10, 10), 0.3 / 9)  # the RAN paper's: r on the diagonal, (1 - r) / 9 elsewhere
    np.fill_diagonal(expected, 0.7)
    np.testing.assert_allclose(symmetric_transition(10, 0.3), expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        pair_transition(4, {0: 3, 3: 0, 1: 3}, 0.25),
        [[0.75, 0, 0, 0.25], [0, 0.75, 0, 0.25], [0, 0, 1, 0], [0.25, 0, 0, 0.75]],
    )


MATRICES = {
    'symmetric': symmetric_transition(10, 0.7),
    'pairs': pair_transition(10, {9: 1, 2: 0, 4: 7, 3: 5, 5: 3}, 0.4),
    'free': np.random.default_rng(0).dirichlet(np.full(10, 0.3), 10),
}


@pytest.mark.parametrize('name', MATRICES)
def test_draws_against_a_plain_loop(name):
    transition, clean = MATRICES[name], np.random.default_rng(1).integers(0, 10, 500)
    stream, expected = np.random.RandomState(11), []
    for label in clean:
        keep, choose = stream.random_sample(), stream.random_sample()
        if keep < transition[label, label]:
            expected.append(label)
            continue
        left = choose * (1 - transition[label, label])
        for other in range(10):
            if other != label:
                left -= transition[label, other]
                if left < 0:
                    break
        expected.append(other)
    assert flip_labels(clean, transition, seed=11).tolist() == expected


@pytest.mark.parametrize('name', MATRICES)
def test_realised_rates_are_binomial(name):
    """Of 20,000 images a class, each of the 100 counts lies where all but 1 in 10 million would."""
    transition, n = MATRICES[name], 20_000
    clean = np.repeat(np.arange(10), n)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (clean, flip_labels(clean, transition, seed=0)), 1)
    assert (counts >= binom.ppf(0.5e-7, n, transition)).all()
    assert (counts <= binom.isf(0.5e-7, n, transition)).all()
    assert not counts[transition == 0].any()


def test_an_image_s_label_depends_on_nothing_but_seed_and_index():
    clean = np.random.default_rng(0).integers(0, 10, 1000)
    by_level = [flip_labels(clean, symmetric_transition(10, level), 5) for level in (0, 0.1, 0.3, 0.7)]
    assert (by_level[0] == clean).all()
    for low, high in pairwise(by_level):  # a wrong label stays wrong, in the same way
        assert (high[low != clean] == low[low != clean]).all() and (high != low).any()
    assert (flip_labels(clean[:300], symmetric_transition(10, 0.3), 5) == by_level[2][:300]).all()
    assert (flip_labels(clean, symmetric_transition(10, 0.3), 6) != by_level[2]).any()


@pytest.mark.parametrize('label', [int, np.int64, lambda i: np.array(i, np.int64)])
@pytest.mark.parametrize('serialize_data', [True, False])
def test_items_have_the_noisy_and_the_clean_label(label, serialize_data):
    inner = Numbers(label=label, serialize_data=serialize_data, indices=range(50, 10, -2))
    dataset = NoisyLabels(inner, level=0.5, seed=3)
    expected = flip_labels(np.arange(50, 10, -2) % 10, symmetric_transition(10, 0.5), 3).tolist()
    assert len(dataset) == 20 and labels(dataset) == expected == dataset.get_gt_labels().tolist()
    for i, item in enumerate(map(dataset.__getitem__, range(20))):
        assert type(item['gt_label']) is type(item['clean_label']) is int
        assert item['img'] == 50 - 2 * i and item['clean_label'] == item['img'] % 10
        assert dataset.get_cat_ids(i) == [item['gt_label']]
    assert [int(inner[i]['gt_label']) for i in range(20)] == dataset.clean_labels.tolist()  # not touched


def test_every_worker_order_and_epoch_sees_the_same_labels():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    dataset = NoisyLabels(Numbers(), level=0.5, seed=3)
    expected = dict(enumerate(labels(dataset)))
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert expected != dict(enumerate(labels(NoisyLabels(Numbers(), level=0.5, seed=4))))
    loader = DataLoader(SeededDataset(dataset, seed=9), batch_size=7, shuffle=True, num_workers=2)
    for epoch in range(2):
        loader.dataset.set_epoch(epoch)
        batches = list(loader)
        seen = zip(
            torch.cat([b['img'] for b in batches]).tolist(),
            torch.cat([b['gt_label'] for b in batches]).tolist(),
            strict=True,
        )
        assert dict(seen) == expected


def test_lazy_until_needed():
    dataset = NoisyLabels(Numbers(lazy_init=True), level=0.5, lazy_init=True)
    assert dataset.metainfo == dict(classes=CIFAR10, label_noise=dict(kind='symmetric', level=0.5, seed=0))
    assert not dataset.dataset._fully_initialized
    assert labels(dataset) == labels(NoisyLabels(Numbers(), level=0.5))
    assert 'transition' in dataset.metainfo['label_noise']


def test_an_image_that_occurs_several_times_has_one_label(registered):
    plain = labels(NoisyLabels(Numbers(), level=0.7))
    assert labels(NoisyLabels(RepeatDataset(Numbers(), times=3), level=0.7)) == plain * 3
    part = dict(registered, size=25, pipeline=[lambda results: dict(results, part=0)])
    parts = dict(type='ConcatDataset', datasets=[part, dict(registered, size=35, start=25)])
    joined = NoisyLabels(dict(type='RepeatDataset', dataset=parts, times=2), level=0.7)
    assert ['part' in joined[i] for i in range(60)] == [True] * 25 + [False] * 35  # each part's own pipeline
    assert [joined[i]['img'] for i in range(120)] == [*range(60)] * 2
    assert labels(joined)[:60] == labels(joined)[60:]
    assert labels(joined)[:25] == plain[:25]
    assert joined.noisy_labels[:10].tolist() != joined.noisy_labels[25:35].tolist()  # drawn apart
    rare = Numbers(11, classes=CIFAR10[:10])
    balanced = NoisyLabels(ClassBalancedDataset(rare, oversample_thr=1.0), level=0.7)
    by_image = {}
    for i in range(len(balanced)):
        by_image.setdefault(balanced[i]['img'], set()).add(balanced[i]['gt_label'])
    assert len(balanced) > len(by_image) == 11
    assert all(len(drawn) == 1 for drawn in by_image.values())


def test_wrappers_around(registered):
    noisy = dict(type='mmlattn.NoisyLabels', dataset=registered, level=0.5)
    plain = labels(NoisyLabels(registered, level=0.5))
    assert labels(RepeatDataset(noisy, times=2)) == plain * 2
    both = ConcatDataset([noisy, registered], ignore_keys='label_noise')
    assert labels(both) == plain + labels(Numbers())
    assert both.metainfo['label_noise']['level'] == 0.5
    balanced = ClassBalancedDataset(noisy, oversample_thr=1.0)
    counts = np.bincount(plain)
    assert sum(np.bincount(labels(balanced)) >= counts) == 10
    assert len(balanced) == sum(np.ceil(np.sqrt(60 / counts)) * counts)
    seeded = SeededDataset(noisy, seed=0)
    assert labels(seeded) == plain and seeded.metainfo == NoisyLabels(registered, level=0.5).metainfo


def test_pipelines_switched_and_rejecting_keep_the_noise():
    dataset = NoisyLabels(Numbers(pipeline=[picked]), level=0.5)
    np.random.seed(0)
    numbers = [dataset[i] for i in range(60)]
    assert all(item['img'] % 2 == 0 for item in numbers)
    assert all(item['gt_label'] == dataset.noisy_labels[item['img']] for item in numbers)
    with pytest.raises(UserError, match='gives None for item 1'):
        NoisyLabels(Numbers(pipeline=[picked], test_mode=True), level=0.5)[1]
    SeededDataset(dataset, seed=0).pipeline = lambda results: results['gt_label']
    assert [dataset[i] for i in range(60)] == dataset.noisy_labels.tolist()


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(level=0.3), symmetric_transition(10, 0.3)),
        (dict(kind='asymmetric', level=0.4, pairs='cifar10'), MATRICES['pairs']),
        (dict(kind='asymmetric', level=0.4, pairs={9: 'automobile', 'bird': 0, 4: 7, 3: 5, 5: 3}), MATRICES['pairs']),
        (dict(kind='asymmetric', level=0.2, pairs='next'), 0.8 * np.eye(10) + 0.2 * np.roll(np.eye(10), 1, axis=1)),
        (dict(kind='matrix', transition=MATRICES['free'].tolist()), MATRICES['free']),
    ],
)  # fmt: skip
def test_metainfo_survives_in_a_checkpoint(options, expected, tmp_path):
    dataset = NoisyLabels(Numbers(), seed=8, **options)
    noise = dataset.metainfo['label_noise']
    np.testing.assert_allclose(noise['transition'], expected, rtol=0, atol=1e-12)
    assert noise['kind'] == options.get('kind', 'symmetric')
    assert (noise['level'], noise['seed']) == (options.get('level'), 8)
    torch.save(dict(meta=dict(dataset_meta=dataset.metainfo)), tmp_path / 'a.pth')
    assert load_weights_only(tmp_path / 'a.pth')['meta']['dataset_meta'] == dataset.metainfo
    assert labels(pickle.loads(pickle.dumps(dataset))) == labels(dataset)
    assert (flip_labels(dataset.clean_labels, expected, 8) == dataset.noisy_labels).all()


MATRIX = MATRICES['free']


@pytest.mark.parametrize(
    ('inner', 'options', 'message'),
    [
        ({}, {}, 'symmetric label noise is made from level, got neither'),
        ({}, dict(level=1.0), r'in \[0, 1\), got 1.0'),
        ({}, dict(level=-0.1), 'got -0.1'),
        ({}, dict(level=float('nan')), 'got nan'),
        ({}, dict(level=True), 'got True'),
        ({}, dict(level='0.3'), "got '0.3'"),
        ({}, dict(level=0.3, seed=-1), 'seed of label noise .* got -1'),
        ({}, dict(level=0.3, seed=0.5), 'got 0.5'),
        ({}, dict(level=0.3, seed=2**32), 'got 4294967296'),
        ({}, dict(kind='uniform', level=0.3), "one of symmetric, asymmetric, matrix, got 'uniform'"),
        ({}, dict(level=0.3, pairs='next'), 'made from level, got level and pairs'),
        ({}, dict(kind='asymmetric', level=0.3), 'made from level and pairs, got level'),
        ({}, dict(kind='matrix', level=0.3, transition=MATRIX), 'made from transition, got level'),
        ({}, dict(kind='asymmetric', level=0.3, pairs='last'), "'cifar10' or 'next', got 'last'"),
        ({}, dict(kind='asymmetric', level=0.3, pairs={}), 'got {}'),
        ({}, dict(kind='asymmetric', level=0.3, pairs=dict(cat='wolf')), "no class 'wolf'; .* airplane"),
        ({}, dict(kind='asymmetric', level=0.3, pairs={3: 10}), 'no class 10; expected an index up to 9'),
        ({}, dict(kind='asymmetric', level=0.3, pairs={3: 'dog', 'cat': 'bird'}), 'each class once'),
        ({}, dict(kind='asymmetric', level=0.3, pairs=dict(cat='cat')), 'for another class'),
        ({}, dict(kind='matrix', transition=np.eye(9)), r'each of the 10 classes, got shape \(9, 9\)'),
        ({}, dict(kind='matrix', transition=[[1], [0, 1]]), 'matrix of numbers'),
        ({}, dict(kind='matrix', transition=MATRIX * ([[1]] * 9 + [[1.01]])), 'row 9 .* sum 1.01'),
        ({}, dict(kind='matrix', transition=np.eye(10) + np.eye(10, k=1) - np.eye(10, k=2)), 'row 0'),
        ({}, dict(kind='matrix', transition=np.eye(10) * np.nan), 'row 0 .* sum nan'),
        (dict(classes=None), dict(level=0.3), 'names no classes'),
        (dict(classes=('only',)), dict(level=0.3), 'needs two or more'),
        (dict(label=lambda i: [i]), dict(level=0.3), r'item 0 of Numbers has gt_label \[0\].*multi-label'),
        (dict(label=float), dict(level=0.3), 'gt_label 0.0'),
        (dict(label=lambda i: i + 1), dict(level=0.3), 'item 9 .* gt_label 10'),
        (dict(key='gt_score'), dict(level=0.3), 'one label an image'),
    ],
)
def test_refuses(inner, options, message):
    with pytest.raises(ValueError, match=message):
        NoisyLabels(Numbers(**inner), **options)


def test_refuses_wrappers_it_cannot_look_into():
    with pytest.raises(ValueError, match='look into SeededDataset'):
        NoisyLabels(SeededDataset(Numbers(), seed=0), level=0.3)


def test_training_keeps_the_noise_in_its_checkpoint(tmp_path):
    config = write_tiny_run(tmp_path)
    noisy = tmp_path / 'noisy.py'
    noisy.write_text(
        "_base_ = './tiny.py'\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='mmlattn.NoisyLabels', level=0.6, seed=2,\n"
        '    dataset=_base_.train_dataloader.dataset))\n'
        'train_cfg = dict(max_epochs=1, val_interval=1)\n'
    )
    result = run_tool('train.py', noisy, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert config.exists() and result.stdout.count('of 11 labels are wrong') == 1
    meta = load_weights_only(tmp_path / 'run/epoch_1.pth')['meta']['dataset_meta']
    assert meta['label_noise'] == dict(
        kind='symmetric', level=0.6, seed=2, transition=symmetric_transition(3, 0.6).tolist()
    )

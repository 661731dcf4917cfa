"""Class-aware sampling: every class alike, a function of seed and epoch, dealt out, numbered, resumed bit for bit."""

import signal
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DATA_SAMPLERS, DATASETS
from tiny_run import differing, final_state, run_tool, write_tiny_run

import mmlattn.register  # noqa: F401
from mmlattn.engine import ClassAwareSampler, SeededDataset
from mmlattn.engine.samplers import class_aware
from mmlattn.utils.errors import UserError


@DATASETS.register_module()
class Labelled(torch.utils.data.Dataset):
    """Items are random numbers, as augmented pictures are."""

    metainfo = {}

    def full_init(self):
        """Nothing to load."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def get_cat_ids(self, index):
        return self.labels[index]

    def __getitem__(self, index):
        return index, np.random.rand()


# Class 2 is rare, class 1 does not occur, one picture has no label, one lists a label twice.
LABELS = [[0], [0, 3], [3, 3], [], [0], [2], [0], [3], [0, 2, 3], [0], [0], [0], [0]]


def test_every_class_and_every_picture_of_a_class_alike():
    labels = [[0]] * 40 + [[5]] * 7 + [[3]] * 2
    sampler = ClassAwareSampler(Labelled(labels), seed=3)
    drawn = Counter(sampler)
    by_class = Counter(labels[index][0] for index in sampler)
    assert len(sampler) == len(list(sampler)) == 49
    assert max(by_class.values()) - min(by_class.values()) <= 1
    for first, last in ((0, 40), (40, 47), (47, 49)):
        times = [drawn[index] for index in range(first, last)]
        assert max(times) - min(times) <= 1


def test_a_picture_comes_for_each_of_its_labels():
    sampler = ClassAwareSampler(Labelled(LABELS), seed=0, num_samples=90_000)
    frequency = np.bincount(list(sampler), minlength=len(LABELS)) / 90_000
    counts = Counter(label for labels in LABELS for label in set(labels))
    expected = [sum(1 / counts[label] for label in set(labels)) / 3 for labels in LABELS]
    assert np.allclose(frequency, expected, atol=1e-3) and frequency[3] == 0


def test_order_is_a_function_of_seed_and_epoch():
    def epoch(seed, number):
        sampler = ClassAwareSampler(Labelled(LABELS), seed=seed)
        sampler.set_epoch(number)
        return list(map(int, sampler))

    orders = [epoch(seed, number) for seed in (0, 1) for number in (0, 1)]
    assert orders == [epoch(seed, number) for seed in (0, 1) for number in (0, 1)]
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize('processes', [2, 5])
def test_processes_share_one_order_and_positions_never_repeat(monkeypatch, processes):
    """As long for every process and in every epoch, rounded up."""
    positions = []
    for epoch in range(2):
        parts = []
        for rank in range(processes):
            monkeypatch.setattr(class_aware, 'get_dist_info', lambda rank=rank: (rank, processes))
            sampler = ClassAwareSampler(Labelled(LABELS), seed=1)
            sampler.set_epoch(epoch)
            parts.append(list(sampler))
            assert len(parts[-1]) == len(sampler) == -(-len(LABELS) // processes)
        monkeypatch.setattr(class_aware, 'get_dist_info', lambda: (0, 1))
        whole = ClassAwareSampler(Labelled(LABELS), seed=1, num_samples=len(sampler) * processes)
        whole.set_epoch(epoch)
        dealt = [index for together in zip(*parts, strict=True) for index in together]
        assert dealt == list(whole)
        positions += [index.position for index in dealt]
    assert positions == list(range(len(positions)))


def test_each_visit_is_augmented_anew():
    dataset = SeededDataset(Labelled(LABELS), seed=0)
    sampler = ClassAwareSampler(dataset, seed=0, num_samples=50)
    items = [dataset[index] for index in sampler]
    assert len({number for _, number in items}) == 50
    assert items == [dataset[index] for index in sampler]


def test_indices_are_those_of_the_wrapped_data():
    """Through every wrapper: what is drawn has a label, and rare classes come as often as others."""
    rare, common = dict(type='Labelled', labels=[[1], []]), dict(type='Labelled', labels=[[], [0], [0], [0]])
    inner = dict(type='RepeatDataset', times=3, dataset=rare)
    dataset = DATASETS.build(
        dict(
            type='mmlattn.SeededDataset',
            dataset=dict(type='ConcatDataset', datasets=[common, inner]),
        )
    )
    sampler = DATA_SAMPLERS.build(
        dict(type='mmlattn.ClassAwareSampler', num_samples=12), default_args=dict(dataset=dataset, seed=0)
    )
    assert Counter(map(int, sampler)) == {1: 2, 2: 2, 3: 2, 4: 2, 6: 2, 8: 2}


def test_refused(capsys):
    with pytest.raises(UserError, match='no picture of the training data has one'):
        ClassAwareSampler(Labelled([[], []]), seed=0)
    with pytest.raises(UserError, match='list cannot tell which labels its images have'):
        ClassAwareSampler([0, 1], seed=0)
    with pytest.raises(UserError, match='leave shuffle and round_up out'):
        ClassAwareSampler(Labelled(LABELS), seed=0, shuffle=False)
    with pytest.raises(UserError, match='num_samples must be a whole number of 1 or more'):
        ClassAwareSampler(Labelled(LABELS), seed=0, num_samples=0)


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, unit):
    """Inside a round of the data, by the real tool, with training counted in epochs and in iterations."""
    write_tiny_run(tmp_path)
    config, killer = tmp_path / 'config.py', tmp_path / 'killer.py'
    by_iteration = (
        'train_cfg = dict(_delete_=True, by_epoch=False, max_iters=9)\nlog_processor = dict(by_epoch=False)\n'
    )
    config.write_text(
        "_base_ = ['tiny.py']\n"
        "train_dataloader = dict(sampler=dict(_delete_=True, type='mmlattn.ClassAwareSampler'))\n"
        'default_hooks = dict(checkpoint=dict(interval=2, by_epoch=False))\n'
        + (by_iteration if unit == 'iter' else '')
    )
    killer.write_text(
        "_base_ = ['config.py']\ncustom_hooks = [*_base_.custom_hooks, dict(type='KillHook', iteration=5)]\n"
    )
    whole = run_tool('train.py', config, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    killed = run_tool('train.py', killer, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL and (tmp_path / 'run' / 'iter_4.pth').exists()
    resumed = run_tool('train.py', config, '--resume', '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    states = [final_state(tmp_path / folder / 'iter_8.pth') for folder in ('whole', 'run')]
    assert differing(*states) == []

"""Each item is a function of (seed, epoch, index), or of (seed, position), whoever loads it."""

import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader

from mmlattn.engine import SeededDataset, StreamSampler
from mmlattn.engine.reproducibility.seeding import ITEM, POSITION, STEP, seed_process, seeded
from mmlattn.engine.reproducibility.stream import StreamIndex


class Dice(BaseDataset):
    """Rolls each of the three generators once per item."""

    METAINFO = dict(classes=('a', 'b'))

    def __init__(self, size=6):
        self.size = size
        super().__init__(serialize_data=False)

    def load_data_list(self):
        return [dict(label=i % 2) for i in range(self.size)]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)['label']]

    def __getitem__(self, idx):
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


def rolls(dataset, **loader):
    return torch.cat(list(DataLoader(dataset, batch_size=2, **loader)))


@pytest.mark.parametrize('workers', [0, 2])
def test_rolls_depend_on_seed_epoch_and_index_alone(workers):
    dataset = SeededDataset(Dice(), seed=3)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        epochs.append(torch.cat(list(loader)))
    assert torch.equal(epochs[0], epochs[2])
    # 12 items, three generators: 36 different numbers.
    assert torch.cat(epochs[:2]).unique().numel() == 36
    assert torch.equal(epochs[0], torch.stack([SeededDataset(Dice(), seed=3)[i] for i in range(6)]))
    assert not np.isin(rolls(SeededDataset(Dice(), seed=4)), epochs[0]).any()


def test_states_outside_are_put_back():
    dataset = SeededDataset(Dice(), seed=3)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = Dice()[0]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    dataset[0]
    assert torch.equal(Dice()[0], expected)


@pytest.mark.parametrize(
    'wrapped',
    [
        lambda: ConcatDataset([Dice(3), Dice(4)]),
        lambda: RepeatDataset(Dice(), times=2),
        lambda: ClassBalancedDataset(Dice(), oversample_thr=1.0),
    ],
)
def test_wrapper_is_transparent(wrapped):
    inner = wrapped()
    dataset = SeededDataset(inner, seed=0)
    dataset.full_init()
    assert len(dataset) == len(inner)
    assert dataset.metainfo['classes'] == ('a', 'b')
    assert dataset.get_data_info(1)['label'] == inner.get_data_info(1)['label']
    assert rolls(dataset).unique().numel() == 3 * len(inner)  # repeats of an image are not copies
    assert not hasattr(dataset, 'pipeline')
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[0], dataset[0])


def test_pipeline_assigned_by_a_hook_reaches_the_data_set():
    inner = Dice()
    SeededDataset(inner, seed=0).pipeline = 'new'
    assert inner.pipeline == 'new'


def test_batched_fetching_of_the_inner_data_set_is_not_used():
    class Batched(Dice):
        def __getitems__(self, indices):
            raise AssertionError('bypasses the seed')

    assert len(rolls(SeededDataset(Batched(), seed=0))) == 6


def test_seed_is_required_and_checked():
    with pytest.raises(ValueError, match='ReproducibilityHook'):
        SeededDataset(Dice())[0]
    with pytest.raises(ValueError, match='-1'):
        SeededDataset(Dice(), seed=-1)


def test_stream_numbers_the_stock_order_and_starts_anywhere():
    from mmengine.dataset import InfiniteSampler

    sampler = StreamSampler(range(5), seed=9)
    stock = iter(InfiniteSampler(range(5), seed=9))
    drawn = [index for index, _ in zip(sampler, range(12), strict=False)]
    assert drawn == [next(stock) for _ in range(12)]
    assert [index.position for index in drawn] == list(range(12))
    sampler.skip(7)
    assert [next(iter(sampler)).position for _ in range(2)] == [7, 7]
    assert next(iter(sampler)) == drawn[7]
    with pytest.raises(ValueError, match='-2'):
        sampler.skip(-2)


def test_stream_is_dealt_out_to_processes():
    samplers = [StreamSampler(range(5), seed=9) for _ in range(2)]
    for rank, sampler in enumerate(samplers):
        sampler.rank, sampler.world_size = rank, 2
        sampler.skip(3)
    one = StreamSampler(range(5), seed=9)
    one.skip(6)
    both = [index for pair in zip(*samplers, range(6), strict=False) for index in pair[:2]]
    alone = [index for index, _ in zip(one, range(12), strict=False)]
    assert [(i, i.position) for i in both] == [(i, i.position) for i in alone]


def test_positions_seed_visits_to_one_image():
    dataset = SeededDataset(Dice(), seed=3)
    first, second = StreamIndex(2, 2), pickle.loads(pickle.dumps(StreamIndex(2, 8)))
    assert (second, second.position) == (2, 8)
    assert torch.stack([dataset[first], dataset[second], dataset[2]]).unique().numel() == 9


def test_streams_of_all_purposes_are_independent():
    """No two keys of a small grid share a number, and neighbours are uncorrelated."""
    draws = []
    for seed in range(3):
        for kind in (ITEM, POSITION, STEP):
            for a in range(5):
                for b in range(5):
                    with seeded(seed, kind, a, b):
                        draws.append([random.random(), np.random.rand(), torch.rand(()).item()])
    draws = np.array(draws)
    assert np.unique(draws).size == draws.size
    lagged = np.corrcoef(draws[:-1].T, draws[1:].T)[:3, 3:]
    assert np.abs(lagged).max() < 4.5 / np.sqrt(len(draws))
    seed_process(0, STEP, 1, 2)
    step = [random.random(), np.random.rand(), torch.rand(()).item()]
    with seeded(0, STEP, 1, 2):
        assert step == [random.random(), np.random.rand(), torch.rand(()).item()]

"""What is said of labels before the first step, and what the arrays of a split are made of."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from tiny_run import run_tool, write_tiny_run

from mmlattn.datasets.checks.duplicates import near_sets
from mmlattn.datasets.checks.splits import read_split
from mmlattn.engine import LabelChecksHook, SeededDataset
from mmlattn.utils.errors import UserError


class Items(BaseDataset):
    """Items as they are given."""

    METAINFO = dict(classes=('cat', 'dog', 'bird'))

    def __init__(self, items, **settings):
        self.items = items
        super().__init__(**settings)

    def load_data_list(self):
        return [dict(item) for item in self.items]


def item(number, labels, **fields):
    return dict(img_path=f'{number}.jpg', gt_label=labels, **fields)


def start(caplog, train, val=None, **settings):
    """What the hook says, with data of any wrapper."""
    loops = [
        None if data is None else SimpleNamespace(dataloader=SimpleNamespace(dataset=data))
        for data in (train, val)
    ]
    runner = SimpleNamespace(
        _train_loop=loops[0], _val_loop=loops[1], logger=logging.getLogger('label checks')
    )
    caplog.clear()
    LabelChecksHook(**settings).before_train(runner)
    return [record.getMessage() for record in caplog.records]


def sound(first, number=20):
    return [item(first + n, [n % 3]) for n in range(number)]


def test_says_what_is_odd_and_nothing_else(caplog):
    assert start(caplog, Items(sound(0)), Items(sound(100))) == []
    train = [item(n, [0, 1] if n < 4 else [0], group='film') for n in range(20)]
    val = [item(0, [2]), item(200, [1], group='film')]
    lines = start(caplog, SeededDataset(RepeatDataset(Items(train), times=3)), Items(val))
    for words in (
        'train: 1 of 3 classes have no positive: bird: a model learns never to predict them',
        'train: 1 of 3 classes are in more than 95% of the pictures where they are known: cat',
        'train: 1 of 3 classes have fewer than 5 positives: dog (4)',
        '1 pictures of train are in val too, first 0.jpg',
        '1 groups have pictures in train and in val, first film with 19.jpg and 200.jpg',
        '0.jpg (listed twice) has cat, dog, bird in one place and not in another',
    ):
        assert sum(line.startswith(words) for line in lines) == 1, (words, lines)
    assert len(lines) == 6
    assert start(caplog, Items(train), Items(val), enabled=False) == []


@pytest.mark.parametrize(
    ('items', 'words'),
    [([item(0, [])], 'no picture has a label'), ([item(0, [3])], r'outside of 0 to 2.*\[3\]')],
)
def test_what_can_not_be_learnt_is_refused(caplog, items, words):
    with pytest.raises(UserError, match=f'train_dataloader: .*{words}'):
        start(caplog, Items(items))


@pytest.mark.parametrize('items', [[dict(img_path='a.jpg')], [item(0, dict(task=1))], [item(0, [0.5])]])
def test_passes_over_data_that_tell_no_classes(caplog, items):
    """Detection, several tasks, training without labels."""
    assert start(caplog, Items(items)) == []


@pytest.mark.parametrize('serialize', [True, False])
def test_unknown_labels_are_no_negatives(serialize):
    items = [
        item(0, [0], gt_label_ignore=[1]),
        item(1, [1], gt_label_difficult=[1, 2]),
        dict(img_path='2.jpg', gt_score=np.float32([1, -1, 0])),
        dict(img_path='3.jpg', gt_label=np.array([2, 2])),
        dict(img_path='4.jpg', gt_label=1, width=4, height=3),
    ]
    parts = ConcatDataset(
        [Items(items[:2], serialize_data=serialize), Items(items[2:], serialize_data=serialize)]
    )
    split = read_split('train', parts)
    assert split.positives.tolist() == [2, 2, 1]
    assert split.unknowns.tolist() == [0, 2, 1]
    assert split.known.tolist() == [5, 3, 4]
    assert split.sizes[-1].tolist() == [4, 3] and split.part.tolist() == [0, 0, 1, 1, 1]
    assert np.diag(split.together()).tolist() == split.positives.tolist()


def test_nearly_the_same_by_brute_force():
    """All pairs of 300 fingerprints, some of them a few bits apart, some of these with other thumbnails."""
    rng = np.random.default_rng(0)
    prints = rng.integers(0, 2**63, 300, dtype=np.uint64)
    thumbnails = rng.integers(0, 256, (300, 256), dtype=np.uint8)
    for n in range(0, 200, 2):
        prints[n + 1] = prints[n]
        for bit in rng.choice(64, n % 10, replace=False):
            prints[n + 1] ^= np.uint64(1) << np.uint64(bit)
        if n % 3:
            thumbnails[n + 1] = thumbnails[n] // 2 + 20
    expected = []
    for a in range(300):
        for b in range(a + 1, 300):
            bits = bin(int(prints[a]) ^ int(prints[b])).count('1')
            if bits <= 6 and np.corrcoef(thumbnails[a], thumbnails[b])[0, 1] >= 0.98:
                expected.append([a, b])
    assert 30 < len(expected) < 60
    assert [members.tolist() for members in near_sets(prints, thumbnails)] == expected


def test_training_says_it_before_its_first_step(tmp_path):
    config = write_tiny_run(tmp_path)
    done = run_tool('train.py', config, '--cfg-options', 'train_cfg.max_epochs=1', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert 0 < log.index('pictures of train are in val too') < log.index('Epoch(train)')

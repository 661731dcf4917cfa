"""Targets of the label decoder: by hand (spec of CNN-RNN, section 3) and against plain loops over images."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmlattn.models.cnn_rnn.paths import (
    IGNORE,
    emitted_before,
    frequency_rank,
    listed_keys,
    path_inputs,
    path_targets,
)


def sets(lists, num_classes):
    labels = torch.zeros(len(lists), num_classes, dtype=torch.bool)
    for row, listed in zip(labels, lists, strict=True):
        row[listed] = True
    return labels


def test_the_frequent_ones_first_by_hand():
    """Labels {3, 1, 2} where 1 is more frequent than 3 and 3 than 2; a set that is empty; one that is full."""
    rank = frequency_rank(torch.tensor([5, 90, 10, 40]))
    assert rank.tolist() == [3, 0, 2, 1]
    labels = sets([[3, 1, 2], [], [0, 1, 2, 3], [2]], 4)
    end = 4
    assert path_targets(labels, rank).tolist() == [
        [1, 3, 2, end, IGNORE],
        [end, IGNORE, IGNORE, IGNORE, IGNORE],
        [1, 3, 2, 0, end],
        [2, end, IGNORE, IGNORE, IGNORE],
    ]
    assert path_targets(labels, -rank)[0].tolist() == [2, 3, 1, end, IGNORE]
    assert path_targets(labels[1:2], rank).tolist() == [[end]]


def test_equally_frequent_labels_keep_their_index():
    counts = torch.tensor([2, 7, 7, 0, 2, 7, 0] * 40)
    expected = sorted(range(len(counts)), key=lambda label: (-counts[label], label))
    assert frequency_rank(counts).argsort().tolist() == expected
    assert frequency_rank(counts.double()).argsort().tolist() == expected


def random_labels(batch=50, num_classes=12):
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(batch, 1, generator=generator)
    return torch.rand(batch, num_classes, generator=generator) < shares, generator


@pytest.mark.parametrize('kind', ['one order', 'an order of each image', 'ranks', 'all keys equal'])
def test_paths_are_those_of_the_loop(kind):
    labels, generator = random_labels()
    batch, num_classes = labels.shape
    keys = {
        'one order': torch.rand(num_classes, generator=generator),
        'an order of each image': torch.rand(batch, num_classes, generator=generator),
        'ranks': torch.randperm(num_classes, generator=generator),
        'all keys equal': torch.zeros(num_classes),
    }[kind]
    expected = []
    for row, row_keys in zip(labels, keys.expand(batch, -1), strict=True):
        path = sorted(row.nonzero()[:, 0].tolist(), key=lambda label: (row_keys[label], label))
        expected.append([*path, num_classes])
    longest = max(map(len, expected))
    expected = [path + [IGNORE] * (longest - len(path)) for path in expected]
    assert path_targets(labels, keys).tolist() == expected


def test_listed_keys_keep_the_listed_order_and_the_first_of_duplicates():
    lists = [[3, 1, 2], [], [2, 0, 2, 0, 1], [4], [0, 0]]
    expected = [[3, 1, 2, 5], [5], [2, 0, 1, 5], [4, 5], [0, 5]]
    keys = listed_keys([torch.tensor(listed, dtype=torch.long) for listed in lists], 5)
    targets = path_targets(sets(lists, 5), keys)
    assert [[token for token in path if token != IGNORE] for path in targets.tolist()] == expected
    nothing = listed_keys([torch.zeros(0, dtype=torch.long)] * 2, 5)
    assert path_targets(torch.zeros(2, 5, dtype=torch.bool), nothing).tolist() == [[5], [5]]


def test_inputs_are_the_targets_one_step_later():
    targets = torch.tensor([[1, 3, 4, IGNORE], [4, IGNORE, IGNORE, IGNORE], [2, 0, 1, 4]])
    assert path_inputs(targets, 4).tolist() == [[5, 1, 3, 4], [5, 4, 4, 4], [5, 2, 0, 1]]
    assert path_inputs(targets[:, :1], 4).tolist() == [[5]] * 3


def test_what_was_emitted_is_never_a_target_again():
    labels, generator = random_labels()
    targets = path_targets(labels, torch.rand(labels.shape, generator=generator))
    emitted = emitted_before(path_inputs(targets, 12), 12)
    for path, rows in zip(targets.tolist(), emitted, strict=True):
        for step, row in enumerate(rows):
            assert set(row.nonzero()[:, 0].tolist()) == {label for label in path[:step] if 0 <= label < 12}
    # Masked logits therefore never meet a target: the loss stays finite.
    logits = torch.zeros(*targets.shape, 13)
    logits[..., :12][emitted] = -1e9
    assert cross_entropy(logits.transpose(1, 2), targets) < 4

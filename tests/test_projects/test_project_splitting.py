"""Splits of pictures against brute force, the library alone, and what must never happen."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iterstrat.ml_stratifiers import IterativeStratification

from mmlattn.projects.assignment import assign, default_shares, groups_by_name, read_split
from mmlattn.projects.splitting import parse_shares, split_pictures, unit_counts, units_of
from mmlattn.utils.errors import UserError

SHARES = np.array([0.8, 0.1, 0.1])


def drawn(seed, units, most, classes=5, rate=0.5):
    """Groups of 1 to ``most`` pictures which have the same labels, more or less."""
    random = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(units), random.integers(1, most + 1, units))
    present = (random.random((units, classes)) < rate)[numbers] & (
        random.random((len(numbers), classes)) < 0.6
    )
    return present, numbers


def far(counts, split, shares=SHARES):
    """Examples that are missing where they are due, then Pearson's chi-square, one sum after another."""
    missing, total = 0, 0.0
    columns = [column for column in range(counts.shape[1]) if counts[:, column].sum()]
    for column in columns:
        carriers = sum(counts[unit, column] > 0 for unit in range(len(counts)))
        for number, share in enumerate(shares):
            members = [unit for unit in range(len(counts)) if split[unit] == number]
            found = sum(counts[unit, column] for unit in members)
            missing += number < carriers and not found
            wanted = share * counts[:, column].sum()
            total += (found - wanted) ** 2 / wanted * (max(len(columns) - 1, 1) if column == 0 else 1)
    return missing, total


@pytest.mark.parametrize(('seed', 'rate'), [(0, 0.5), (1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25), (5, 0.25)])
def test_few_groups_are_split_nearly_as_well_as_can_be(seed, rate):
    """Of all ways to split them; rare classes that come together can not all be everywhere."""
    present, units = drawn(seed, 6, 60, rate=rate)
    counts = unit_counts(present, units)
    for unit in range(6):
        assert counts[unit].tolist() == [(units == unit).sum(), *present[units == unit].sum(axis=0)]
    split = split_pictures(present, units, SHARES, 0)
    assert all(len(set(split[units == unit])) == 1 for unit in range(6))
    mine = far(counts, [split[units == unit][0] for unit in range(6)])
    best = min(far(counts, choice) for choice in itertools.product(range(3), repeat=6))
    assert mine[0] == best[0] and mine[1] <= 1.05 * best[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.integers(1, 8), st.integers(1, 12))
def test_groups_stay_whole_and_no_split_is_empty(seed, units, most, classes):
    present, numbers = drawn(seed, units, most, classes, rate=0.15)
    split = split_pictures(present, numbers, SHARES, seed)
    of_unit = {unit: set(split[numbers == unit]) for unit in range(units)}
    assert all(map(len, of_unit.values())) and max(map(len, of_unit.values())) == 1
    assert set(split) == {0, 1, 2}
    assert (split == split_pictures(present, numbers, SHARES, seed)).all()


def test_single_pictures_are_split_as_the_library_does():
    """Where every class is frequent there is nothing to move; a rare one gets an example in each split."""
    random = np.random.default_rng(0)
    present = random.random((600, 8)) < np.linspace(0.5, 0.1, 8)
    alone = IterativeStratification(present, SHARES, np.random.RandomState(3))
    assert (split_pictures(present, np.arange(600), SHARES, 3) == alone).all()
    rare = np.zeros((600, 3), bool)
    rare[:3, 0] = rare[10:12, 1] = rare[20, 2] = True
    split = split_pictures(np.hstack([present, rare]), np.arange(600), SHARES, 3)
    assert sorted(split[:3]) == [0, 1, 2] and sorted(split[10:12]) == [0, 1] and split[20] == 0
    # No class is further off than one picture for each that was moved.
    for number, share in enumerate(SHARES):
        members = present[split == number].sum(axis=0)
        assert np.abs(members - share * present.sum(axis=0)).max() < 6
    without_test = split_pictures(present, np.arange(600), np.array([0.8, 0.2, 0.0]), 3)
    assert np.abs(np.bincount(without_test) - [480, 120]).max() < 10


def test_units_join_what_any_tie_joins():
    ties = [['a', 'a', None, 'b', 'b', None], [None, 1, 1, None, 2, 2]]
    assert units_of(*ties).tolist() == [0, 0, 0, 1, 1, 1]
    assert units_of([None] * 3, [None] * 3).tolist() == [0, 1, 2]


LABELS = np.array([[1, 0], [0, 1], [1, -1], [1, 1], [0, 1], [1, 0]] * 5)


def test_a_split_that_the_labels_say_is_kept_and_completed():
    stated = ['train', 'Test', 'training', 'train', 'train', 'train'] * 5
    nothing = [None] * 30
    found = assign(LABELS, stated, None, nothing, None, 0)
    assert ((found.split == 2) == [name == 'Test' for name in stated]).all()
    assert 0 < (found.split == 1).sum() < 12 and 'val is taken out of train' in found.how
    both = assign(LABELS, ['train', 'val', 'test'] * 10, ['a'] * 30, nothing, None, 0)
    assert both.split.tolist() == [0, 1, 2] * 10
    assert both.notes[0].startswith('1 groups have pictures in several splits: a;')
    anew = assign(LABELS, stated, None, nothing, parse_shares('60/20/20'), 0)
    assert np.abs(np.bincount(anew.split) - [18, 6, 6]).max() <= 1 and 'left out' in anew.how
    alone = assign(LABELS, None, None, nothing, None, 0)
    assert (alone.split == anew.split).all() and default_shares(200).tolist() == SHARES.tolist()


def test_copies_stay_together():
    digests = [b'x' if number in (0, 7, 19) else None for number in range(30)]
    for seed in range(5):
        split = assign(LABELS, None, None, digests, None, seed).split
        assert len({split[0], split[7], split[19]}) == 1
    stated = ['train', 'val', 'test'] * 10
    assert (
        '1 pictures have copies in several splits' in assign(LABELS, stated, None, digests, None, 0).notes[0]
    )


@pytest.mark.parametrize(
    ('call', 'said'),
    [
        (lambda: parse_shares('80-10-10'), 'as in 80/10/10'),
        (lambda: parse_shares('80/0/20'), 'the first two above 0'),
        (lambda: parse_shares('nan/1/1'), 'shares of train'),
        (lambda: groups_by_name(['a.jpg'], '('), 'no regular expression'),
        (lambda: groups_by_name(['a.jpg'], 'a'), 'has 0 groups in brackets'),
        (lambda: groups_by_name(['a_1.jpg', 'b.jpg'], '(.+)_'), 'finds nothing in 1 of 2 paths, first b.jpg'),
        (lambda: read_split(['train', 'odd', None]), "2 of 3 pictures have the split 'odd'"),
        (lambda: read_split(['val', 'test']), 'no picture is in the split train'),
        (
            lambda: split_pictures(LABELS == 1, np.arange(30) // 15, SHARES, 0),
            '2 groups of pictures can not be',
        ),
    ],
    ids=range(9),
)
def test_what_can_not_be_split_is_said(call, said):
    with pytest.raises(UserError) as caught:
        call()
    assert said in str(caught.value)

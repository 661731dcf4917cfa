"""The choice of a long tail: its profile, what it may leave out, and the tool on label files."""

import json
import runpy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_run import TOOLS, run_tool

TOOL = runpy.run_path(str(TOOLS / 'dataset_converters' / 'long_tail.py'))
long_tail_profile, choose_pictures = TOOL['long_tail_profile'], TOOL['choose_pictures']


def test_profile_falls_by_one_factor():
    """By frequency, not by the order of classes; no class is wanted more often than it is there."""
    assert long_tail_profile(np.array([500, 2000, 900]), 1000, 10).tolist() == [10, 1000, 100]
    assert long_tail_profile(np.array([500, 40, 30]), 1000, 10).tolist() == [500, 40, 10]
    assert long_tail_profile(np.array([7]), 5, 2).tolist() == [5]


def test_pictures_of_one_label_are_as_many_as_wanted():
    labels = np.repeat([2, 0, 1], [50, 30, 20])
    present = np.eye(3, dtype=bool)[labels]
    wanted = np.array([8, 3, 25])
    chosen = [choose_pictures(present, wanted, seed) for seed in (0, 0, 1)]
    assert all(present[stay].sum(axis=0).tolist() == [8, 3, 25] for stay in chosen)
    assert (chosen[0] == chosen[1]).all() and (chosen[0] != chosen[2]).any()


@settings(max_examples=60, deadline=None)
@given(
    present=st.integers(1, 5).flatmap(lambda c: arrays(bool, st.tuples(st.integers(1, 25), st.just(c)))),
    most=st.integers(1, 12),
    seed=st.integers(0, 3),
)
def test_more_than_wanted_stays_only_for_rarer_classes(present, most, seed):
    before = present.sum(axis=0)
    wanted = long_tail_profile(before, most, 1)
    stay = choose_pictures(present, wanted, seed)
    after = present[stay].sum(axis=0)
    order = np.argsort(wanted, kind='stable')
    assert after[order[0]] == wanted[order[0]]
    for place, label in enumerate(order):
        shows_rarer = present[:, order[:place]].any(axis=1)
        assert after[label] <= wanted[label] or shows_rarer[stay & present[:, label]].all()
    assert stay[~present.any(axis=1)].all()


def write(path):
    """Class a in all pictures, b in every third, c in every sixth, or unknown; the last 12 are of another split."""
    rows = []
    for i in range(60):
        c = -1 if i % 10 == 5 else int(i % 6 == 0)
        rows.append(f'{i}.jpg,{"train" if i < 48 else "val"},1,{int(i % 3 == 0)},{c}')
    path.write_text('\n'.join(['image,split,a,b,c', *rows]) + '\n')
    return path


def test_tool_writes_a_part_of_the_rows(tmp_path):
    labels = write(tmp_path / 'labels.csv')
    arguments = (labels, '--out', tmp_path / 'tail.csv', '--most', 20, '--fewest', 3, '--split', 'train')
    done = run_tool('dataset_converters/long_tail.py', *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    source, chosen = (path.read_text().splitlines() for path in (labels, tmp_path / 'tail.csv'))
    rows = {
        line.split(',')[0]: dict(zip(source[0].split(','), line.split(','), strict=True))
        for line in source[1:]
    }
    header = chosen[0].split(',')
    found = [dict(zip(header, line.split(','), strict=True)) for line in chosen[1:]]
    assert set(header) == set(source[0].split(','))
    assert all(row == rows[row['image']] for row in found)
    assert sum(row['split'] == 'val' for row in found) == 12
    counts = [sum(row[name] == '1' for row in found if row['split'] == 'train') for name in 'abc']
    assert counts == [20, 8, 3]
    assert '20 of 48 pictures' in done.stdout
    again = run_tool('dataset_converters/long_tail.py', *arguments, cwd=tmp_path)
    assert again.returncode == 1 and 'tail.csv exists already; choose another --out' in again.stderr


def test_tool_keeps_the_format(tmp_path):
    labels = tmp_path / 'labels.json'
    data_list = [dict(img_path=f'{i}.jpg', gt_label=[0] if i % 2 else [0, 1]) for i in range(20)]
    labels.write_text(json.dumps(dict(metainfo=dict(classes=['a', 'b']), data_list=data_list)))
    arguments = ('--out', tmp_path / 'tail.json', '--most', 6, '--fewest', 2)
    done = run_tool('dataset_converters/long_tail.py', labels, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    chosen = json.loads((tmp_path / 'tail.json').read_text())
    assert chosen['metainfo']['classes'] == ['a', 'b']
    assert [entry['gt_label'] for entry in chosen['data_list']].count([0, 1]) == 2
    assert len(chosen['data_list']) == 6


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--out', 'tail.xyz', '--most', 5, '--fewest', 1), '--out must end with .csv'),
        (('--out', 'tail.csv', '--most', 5, '--fewest', 6), '1 <= --fewest <= --most is needed'),
        (
            ('--out', 'tail.csv', '--most', 5, '--fewest', 1, '--split', 'test'),
            "no picture of the split 'test'",
        ),
    ],
)
def test_refused(arguments, message, tmp_path):
    labels = write(tmp_path / 'labels.csv')
    done = run_tool('dataset_converters/long_tail.py', labels, *arguments, cwd=tmp_path)
    assert done.returncode and message in done.stderr
    assert [path.name for path in tmp_path.glob('tail*')] == []

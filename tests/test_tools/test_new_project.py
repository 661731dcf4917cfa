"""A project begun from pictures and labels: what is written, what is said, and what is refused."""

import csv
import json
import os
import re
import shlex
from collections import defaultdict

import pytest
from mmengine.config import Config
from PIL import Image
from tiny_run import run_tool

from mmlattn.datasets import MultiLabelFile
from mmlattn.projects.folder import next_commands

CLASSES = ('bus', 'cat', 'dog')


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """60 pictures of 12 videos, one of them twice, in folders; a table with their labels."""
    folder = tmp_path_factory.mktemp('videos')
    rows = []
    for number in range(60):
        video, name = number % 12, f'v{number % 12}/f{number // 12:02d}.png'
        path = folder / 'frames' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (40 + number, 50), (4 * number, 10 * video, 0)).save(path)
        rows.append([name, number % 2, int(video < 5), [0, 1, -1][number % 3], f'video{video}'])
    (folder / 'frames' / 'copy.png').write_bytes((folder / 'frames' / 'v3' / 'f00.png').read_bytes())
    rows.append(['copy.png', *rows[3][1:4], 'another'])
    Image.new('RGB', (20, 20)).save(folder / 'frames' / 'unnamed.png')
    with open(folder / 'frames.csv', 'w', newline='') as file:
        csv.writer(file).writerows([['file', *CLASSES, 'video'], *rows])
    return folder


def begin(folder, *args, labels='frames.csv', out='mine'):
    args = ['--weights', 'none', '--group-column', 'video', *args]
    return run_tool('new_project.py', 'frames', labels, '--out-dir', out, *args, cwd=folder)


def rows_of(path):
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_what_is_written_and_said(videos):
    done = begin(
        videos, '--group-column', 'video', '--weights', 'none', '--size', '64', '--backbone', 'resnet18'
    )
    assert done.returncode == 0, done.stderr
    home = videos / 'mine'
    assert sorted(path.name for path in home.iterdir()) == ['classes.txt', 'config.py', 'labels.csv']
    written, given = rows_of(home / 'labels.csv'), rows_of(videos / 'frames.csv')
    assert [row['image'] for row in written] == [row['file'] for row in given]
    assert [[row[name] for name in CLASSES] for row in written] == [
        [row[n] for n in CLASSES] for row in given
    ]
    splits = defaultdict(set)
    for row, before in zip(written, given, strict=True):
        assert row['group'] == before['video']
        splits[before['video']].add(row['split'])
    assert {len(found) for found in splits.values()} == {1}
    assert splits['another'] == splits['video3']  # a copy of one of its frames
    assert {row['split'] for row in written} == {'train', 'val', 'test'}
    assert (home / 'classes.txt').read_text().split() == list(CLASSES)

    said = done.stdout
    numbers = {row['split']: 0 for row in written}
    for row in written:
        numbers[row['split']] += 1
    assert ', '.join(f'{name} {numbers[name]}' for name in ('train', 'val', 'test')) in said
    unknown = sum(row['dog'] == '-1' for row in written)
    (line,) = re.findall(r'^dog .*$', said, flags=re.M)
    present = [sum(r['dog'] == '1' and s in (r['split'], None) for r in written) for s in (None, *numbers)]
    assert sorted(map(int, line.split()[1:])) == sorted([*present, unknown])
    for part in (
        f'{unknown} labels are unknown',
        '1 pictures are copies of others',
        '1 pictures in frames have no entry in the labels and are left out: frames/unnamed.png',
        '13 groups',
        'from random weights',
    ):
        assert part in said, part


def test_the_data_sets_of_the_config_are_those_of_the_table(videos, repo_root):
    begin(videos, '--size', '64', '--read', f'label_columns={",".join(CLASSES)}', out='sets')
    cfg = Config.fromfile(videos / 'sets' / 'config.py')
    written = rows_of(videos / 'sets' / 'labels.csv')
    for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'test')):
        settings = dict(cfg[f'{loader}_dataloader'].dataset, pipeline=[])
        assert settings.pop('type') == 'mmlattn.MultiLabelFile'
        dataset = MultiLabelFile(**settings)
        rows = [row for row in written if row['split'] == split]
        assert len(dataset) == len(rows) and dataset.metainfo['classes'] == CLASSES
        for row, item in zip(rows, map(dataset.get_data_info, range(len(rows))), strict=True):
            assert os.path.realpath(item['img_path']) == str((videos / 'frames' / row['image']).resolve())
            assert item['gt_label'] == [c for c, name in enumerate(CLASSES) if row[name] == '1']
            assert item.get('gt_label_ignore', []) == [c for c, n in enumerate(CLASSES) if row[n] == '-1']
    done = run_tool('analysis_tools/check_dataset.py', 'sets/config.py', cwd=videos)
    assert done.returncode == 0, done.stderr


def test_commands_are_those_of_where_one_stands(repo_root, tmp_path, monkeypatch):
    monkeypatch.chdir(repo_root)
    commands = next_commands(tmp_path / 'my own', 7, tune=True)
    assert all(shlex.split(command)[2].startswith(f'{tmp_path}/my own/') for command in commands)
    assert [shlex.split(command)[0] for command in commands] == ['python'] * 4
    assert all((repo_root / shlex.split(command)[1]).is_file() for command in commands)
    assert shlex.split(commands[2])[3] == f'{tmp_path}/my own/run/epoch_7.pth'
    assert shlex.split(commands[3])[3:5] == [f'{tmp_path}/my own/run/epoch_7_tuned.pth', 'NEW_PICTURES']
    monkeypatch.chdir(tmp_path)
    few = next_commands(tmp_path / 'p', 7, tune=False)
    assert [command.split()[:4] for command in few] == [
        ['python', '-m', 'mmlattn', name] for name in ('check_dataset', 'train', 'predict')
    ]
    assert 'tuned' not in few[-1]


def changed(row, **cells):
    def write(folder, rows):
        rows[row].update(cells)

    return write


def emptied(folder, rows):
    (folder / 'frames' / 'v0' / 'f00.png').write_bytes(b'')


def only(*names):
    def write(folder, rows):
        for row in rows:
            for name in set(CLASSES) - set(names):
                row.pop(name)

    return write


def renamed(old, new):
    def write(folder, rows):
        rows[:] = [{new if key == old else key: value for key, value in row.items()} for row in rows]

    return write


REFUSED = [
    (None, ['--out-dir', 'frames'], 'frames exists and is not overwritten; choose another --out-dir'),
    (None, ['--split', '8'], '--split takes the shares'),
    (None, ['--split', '100/0/0'], '--split takes the shares'),
    (None, ['--group-by', '(v[0-9]+'], 'is no regular expression'),
    (None, ['--group-by', 'v[0-9]+'], 'has 0 groups in brackets'),
    (None, ['--group-by', '(v1)[0-9]*/'], 'finds nothing in'),
    (None, ['--group-column', 'movie'], "group_column='movie' is not there"),
    (None, ['--group-by', '(v|c)'], 'groups of pictures can not be split into 3'),
    (None, ['--system', 'racnn'], 'needs exactly one label for each picture'),
    (None, ['--weights', 'gone.pth'], 'there is no file'),
    (None, ['--classes', 'gone.txt'], 'gone.txt'),
    (changed(4, file='v4/f99.png'), [], '1 of 61 pictures are missing, first frames/v4/f99.png'),
    (changed(4, file='V4/f00.png'), [], 'are missing'),
    (emptied, [], '1 of 61 pictures can not be read, first frames/v0/f00.png: it is empty'),
    (only('bus'), ['--format', 'csv-onehot'], 'has one class only, bus'),
    (renamed('dog', 'image'), [], "a class is called 'image'"),
    (changed(2, cat='3'), [], 'line 4'),
    (
        renamed('file', 'image'),
        ['--unlisted', 'unknown', '--read', 'label_columns=video'],
        'yes to all would be',
    ),
]


@pytest.mark.parametrize(('damage', 'args', 'said'), REFUSED, ids=range(len(REFUSED)))
def test_mistakes_are_one_line_and_leave_nothing(damage, args, said, videos, tmp_path):
    os.link(videos / 'frames.csv', tmp_path / 'frames.csv')
    for path in (videos / 'frames').rglob('*.png'):
        target = tmp_path / path.relative_to(videos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    labels = 'frames.csv'
    if damage is not None:
        rows = rows_of(videos / 'frames.csv')
        if damage is emptied:
            (tmp_path / 'frames' / 'v0' / 'f00.png').unlink()
        damage(tmp_path, rows)
        labels = 'damaged.csv'
        with open(tmp_path / labels, 'w', newline='') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    before = sorted(tmp_path.iterdir())
    done = begin(tmp_path, *args, labels=labels)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and lines[-1].startswith('error: ') and said in lines[-1], done.stderr
    assert 'Traceback' not in done.stderr
    streams = {tmp_path / 'stdout.txt', tmp_path / 'stderr.txt'}
    assert sorted(path for path in tmp_path.iterdir() if path not in streams) == before


def test_pictures_that_are_no_folder(videos):
    done = run_tool('new_project.py', 'frames.csv', 'frames.csv', '--out-dir', 'no', cwd=videos)
    assert done.returncode == 1 and 'frames.csv is no folder: PICTURES is the folder' in done.stderr
    gone = run_tool('new_project.py', 'frames', 'gone.csv', '--out-dir', 'no', cwd=videos)
    assert gone.returncode == 1 and 'gone.csv' in gone.stderr and 'Traceback' not in gone.stderr
    assert not (videos / 'no').exists()


def test_boxes_and_splits_of_other_formats(make_coco, tmp_path):
    root = make_coco(tmp_path / 'coco', num_images=24)
    labels = root / 'annotations' / 'instances_train2017.json'
    used = {annotation['category_id'] for annotation in json.loads(labels.read_text())['annotations']}
    names = [c['name'] for c in json.loads(labels.read_text())['categories'] if c['id'] in used]
    (tmp_path / 'names.txt').write_text('\n'.join(names))
    args = ['--classes', 'names.txt', '--weights', 'none', '--split', '50/50/0', '--system', 'st-lstm']
    done = run_tool('new_project.py', root / 'train2017', labels, '--out-dir', 'p', *args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'boxes are left out' in done.stdout and 'labels read as coco' in done.stdout
    cfg = Config.fromfile(tmp_path / 'p' / 'config.py')
    assert cfg.test_dataloader.dataset.split == 'val'
    assert cfg.val_dataloader.dataset.data_prefix == str(root / 'train2017')
    assert {row['split'] for row in rows_of(tmp_path / 'p' / 'labels.csv')} == {'train', 'val'}

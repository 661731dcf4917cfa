"""The tools on label files."""

import argparse
import re

import pytest
from PIL import Image
from tiny_run import TOOLS, run_tool

from mmlattn.datasets.label_files import read_label_file

TOOL = 'dataset_converters/convert_labels.py'


@pytest.fixture
def mine(tmp_path):
    for name in 'ab':
        Image.new('RGB', (8, 6)).save(tmp_path / f'{name}.jpg')
    (tmp_path / 'l.csv').write_text('image,labels,split\na.jpg,cat;dog,train\nb.jpg,,val\n')
    return tmp_path


def test_convert(mine):
    done = run_tool(TOOL, 'l.csv', 'out/coco.json', '--to', 'coco', '--pictures', '.', cwd=mine)
    assert done.returncode == 0, done.stderr
    assert 'out/coco.json: 2 pictures, 2 classes, from csv-names to coco' in done.stdout
    assert 'the 2 classes are inferred: cat, dog' in done.stdout
    table = read_label_file(mine / 'out/coco.json')
    assert [record.size for record in table.records] == [(8, 6)] * 2 and table.matrix().tolist() == [
        [1, 1],
        [0, 0],
    ]
    done = run_tool(
        TOOL, 'out/coco.json', 'val', '--to', 'folders', '--pictures', '.', '--split', 'val', cwd=mine
    )
    assert done.returncode == 0, done.stderr
    assert [str(path.relative_to(mine)) for path in mine.glob('val/**/*.jpg')] == ['val/val/_none/b.jpg']


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['l.csv', 'a.jpg', '--to', 'coco'], 'a.jpg exists already; choose another name'),
        (
            ['l.csv', 'x.json', '--to', 'coco'],
            'of 2 pictures they are not known.*name the folder',
        ),
        (['l.csv', 'x', '--to', 'folders', '--pictures', 'no'], '2 pictures are not there, first no/a.jpg'),
        (['L.csv', 'x.json', '--to', 'json'], 'L.csv: no such file: there is l.csv, which differs in case'),
        (
            ['l.csv', 'x.json', '--to', 'json', '--split', 'test'],
            'split test; its splits: train, val',
        ),
        (
            ['l.csv', 'x.json', '--to', 'json', '--read', 'separatr=;'],
            'does not take all of separatr: leave',
        ),
    ],
)
def test_mistakes_are_one_line(mine, args, words):
    before = sorted(mine.iterdir())
    done = run_tool(TOOL, *args, cwd=mine)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode != 0 and len(lines) == 1, done.stderr
    assert re.search(words, lines[0]), lines
    assert [
        path for path in sorted(mine.iterdir()) if path.name not in ('stdout.txt', 'stderr.txt')
    ] == before


def test_the_benchmark_measures_each_loader(tmp_path, monkeypatch, capsys):
    """In this process; the tool gives each a process of its own."""
    monkeypatch.syspath_prepend(str(TOOLS / 'analysis_tools'))
    import benchmark_label_files as tool

    args = argparse.Namespace(images=30, labels=90, num_classes=4, rows=60, seed=0)
    for kind, file in tool.write_files(args, tmp_path).items():
        other = 'json.load' if kind == 'coco.json' else 'pandas.read_csv'
        counts = [tool.LOADERS[name](file, str(tmp_path / 'pictures')) for name in ('MultiLabelFile', other)]
        # A json has three sections; pictures are named in several rows.
        assert counts[1] == dict(zip(('coco.json', 'rows.csv', 'onehot.csv'), (3, 60, 30), strict=True))[kind]
        assert counts[0] == 30 or (kind == 'rows.csv' and 20 < counts[0] <= 30)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith('measured')]
    assert len(lines) == 6 and all(float(seconds) >= 0 for _, seconds, _ in lines)

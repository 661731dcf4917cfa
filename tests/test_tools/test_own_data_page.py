"""Every command and every config line of docs/own_data.md, run in order on real pictures."""

import csv
import json
import os
import re
import shlex
from collections import defaultdict
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATA_SAMPLERS, DATASETS, MODELS
from tiny_run import run_tool

from mmlattn.structures.decisions import read_decision
from mmlattn.utils.checkpoint.loading import load_weights_only

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'own_data.md').read_text()
# What makes it take seconds: small pictures and network, no download, few epochs.
SMALL = ['--backbone', 'mobilenet_v2', '--weights', 'none', '--size', '64', '--epochs', '3']
CLASSES = 5


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```', PAGE, flags=re.M | re.S)


def write_rows(path, *rows):
    with open(path, 'w', newline='') as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope='module')
def folder(make_coco, tmp_path_factory):
    """The files that the page begins with: five classes of the first 128 pictures of COCO, or drawn ones."""
    folder = tmp_path_factory.mktemp('own')
    root = Path(os.environ.get('MMLATTN_COCO128') or make_coco(folder / 'coco', num_images=90))
    content = json.loads((root / 'annotations' / 'instances_train2017.json').read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    labels = defaultdict(set)
    for annotation in content['annotations']:
        labels[annotation['image_id']].add(names[annotation['category_id']])
    counts = defaultdict(int)
    for found in labels.values():
        for name in found:
            counts[name] += 1
    frequent = sorted(counts, key=counts.get)[-CLASSES:]
    pictures = [(image['file_name'], labels[image['id']] & set(frequent)) for image in content['images']]
    pictures = [(name, found) for name, found in pictures if found][:60]
    for sub in ('photos', 'new_photos', 'frames'):
        (folder / sub).mkdir()
    for number, (name, _) in enumerate(pictures):
        source = root / 'train2017' / name
        (folder / ('photos' if number < 54 else 'new_photos') / name).symlink_to(source)
        (folder / 'frames' / f'clip{number % 9}_{number:04d}.jpg').symlink_to(source)
    table = [(name, ';'.join(sorted(found))) for name, found in pictures[:54]]
    write_rows(folder / 'photos.csv', ('file', 'labels'), *table)
    cells = [
        (name, *(int(c in found) if (number + k) % 7 else '' for k, c in enumerate(frequent)))
        for number, (name, found) in enumerate(pictures[:54])
    ]
    write_rows(folder / 'partly.csv', ('file', *frequent), *cells)
    frames = [
        (f'clip{number % 9}_{number:04d}.jpg', ';'.join(sorted(found)), f'clip{number % 9}')
        for number, (_, found) in enumerate(pictures)
    ]
    write_rows(folder / 'frames.csv', ('file', 'labels', 'video'), *frames)
    return folder


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder):
    commands = [
        shlex.split(command)
        for block in blocks('bash')
        for command in block.replace('\\\n', ' ').splitlines()
    ]
    assert len(commands) > 9 and all(command[0] == 'python' for command in commands)
    first = blocks('bash')[0].splitlines()
    assert len(first) <= 5
    for _, tool, *args in commands:
        args = [arg.replace('epoch_30', 'epoch_3') for arg in args]
        args += SMALL if tool.endswith('new_project.py') else []
        done = run_tool(tool.removeprefix('tools/'), *args, cwd=folder)
        assert done.returncode == 0, f'{tool} {args}\n{done.stdout[-500:]}\n{done.stderr}'

    home = folder / 'my_project'
    assert len((home / 'config.py').read_text().splitlines()) <= 25
    with open(home / 'predictions' / 'predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list((folder / 'new_photos').iterdir())) == 6
    decision = read_decision(load_weights_only(home / 'run' / 'epoch_3_tuned.pth'))
    assert list(decision.classes) == (home / 'classes.txt').read_text().splitlines()
    assert '<html' in (home / 'errors.html').read_text()
    for name in ('by_name', 'by_column'):
        with open(folder / name / 'labels.csv', newline='') as file:
            splits = defaultdict(set)
            for row in csv.DictReader(file):
                splits[row['image'].partition('_')[0]].add(row['split'])
        assert len(splits) == 9 and {len(found) for found in splits.values()} == {1}
    check_lines(folder)


def check_lines(folder):
    """The config lines of the page do what it says when they are added to a config that the tool wrote."""
    config = folder / 'partly' / 'config.py'
    text, cfgs = config.read_text(), []
    for lines in blocks('python'):
        config.write_text(text + lines)
        cfgs.append(Config.fromfile(config))
    negative, weights, sampler = cfgs
    assert negative.model.head.unknown == 'negative'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        head = MODELS.build(weights.model.head)
        assert type(head.loss_module).__name__ == 'MaskedBCELoss'
        assert weights.custom_hooks[-1].type == 'mmlattn.LabelFrequencyHook' and len(weights.custom_hooks) > 2
        dataset = DATASETS.build(sampler.train_dataloader.dataset)
        drawn = DATA_SAMPLERS.build(dict(sampler.train_dataloader.sampler, dataset=dataset))
    assert type(drawn).__name__ == 'ClassAwareSampler' and len(list(drawn)) == len(dataset)

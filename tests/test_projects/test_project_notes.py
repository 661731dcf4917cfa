"""What is said of a new project."""

import json

import numpy as np
from PIL import Image

from mmlattn.projects.making import make_project
from mmlattn.projects.proposals import BACKBONES, SYSTEMS, Wishes

READING = dict(format=None, classes=None, unlisted=None)


def test_labels_without_boxes_and_weights_to_fetch(tmp_path):
    entries = []
    (tmp_path / 'photos').mkdir()
    for number in range(30):
        Image.new('RGB', (64, 48), (number, 9, 9)).save(tmp_path / 'photos' / f'{number}.png')
        result = [dict(type='choices', value=dict(choices=['cat' if number % 2 else 'dog']))]
        entries.append(dict(data=dict(image=f'{number}.png'), annotations=[dict(result=result)]))
    labels = tmp_path / 'studio.json'
    labels.write_text(json.dumps(entries))
    args = tmp_path / 'photos', labels, tmp_path / 'p'
    report = '\n'.join(make_project(*args, Wishes(), **READING).report)
    assert 'labels read as label-studio' in report and 'boxes' not in report
    assert (
        f'from {BACKBONES["resnet50"].url} (fetched when training starts' in report and '--weights' in report
    )
    own = make_project(*args, Wishes(weights='none'), **READING)
    assert 'fetched' not in '\n'.join(own.report)
    for system in SYSTEMS:  # what the tool for thresholds refuses is not among the commands to type next
        shares = np.array([0.5, 0.5, 0])
        made = make_project(*args, Wishes(system, weights='none'), shares, **READING)
        assert made.has_thresholds == (system in ('csra', 'st-lstm', 'linear'))

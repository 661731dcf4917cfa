"""What is said of a new project."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from mmlattn.projects.making import make_project
from mmlattn.projects.proposals import BACKBONES, SYSTEMS, Wishes
from mmlattn.projects.reading import read_pictures
from mmlattn.projects.survey import picture_sizes
from mmlattn.utils.errors import UserError

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


def test_what_would_be_refused_later_is_refused_at_once(tmp_path):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.jpg')
    sides, promised = struct.pack('>HH', 48, 64), struct.pack('>HH', 10_000, 20_001)
    (tmp_path / 'b.jpg').write_bytes((tmp_path / 'a.jpg').read_bytes().replace(sides, promised, 1))
    with pytest.raises(
        UserError, match=r'1 of 2 pictures can not be read.*its header says 20001 x 10000 pixels'
    ):
        picture_sizes([str(tmp_path / 'a.jpg'), str(tmp_path / 'b.jpg')])
    labels = tmp_path / 'l.csv'
    labels.write_text('image,labels\na.jpg,cat\nb.jpg,Groups\n')
    with pytest.raises(UserError, match=r"l\.csv: a class is called 'Groups', as a column of labels.csv"):
        read_pictures(tmp_path, labels, None)

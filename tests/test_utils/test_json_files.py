"""Json without NaN: what is written is read by a parser that keeps to the standard."""

import json
import math
import subprocess
import sys

import mmengine
import numpy as np
import pytest

import mmlattn.register  # noqa: F401
from mmlattn.utils.json_files import to_json
from mmlattn.visualization import EvidenceVisualizer


def strict(text):
    """Json as RFC 8259 has it."""

    def refuse(constant):
        raise AssertionError(f'{constant} is no json')

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ('value', 'read'),
    [
        (math.nan, None),
        ([1.5, math.inf, (-math.inf, 2)], [1.5, None, [None, 2]]),
        (dict(a=dict(b=[np.float32('nan'), np.float64(0.5)])), dict(a=dict(b=[None, 0.5]))),
        (np.array([[1.0, np.nan], [np.inf, 2]]), [[1.0, None], [None, 2.0]]),
        (dict(a='NaN', b=None, c=True, d=3, e=np.int64(4), f=np.bool_(False)),
         dict(a='NaN', b=None, c=True, d=3, e=4, f=False)),
        ({2: range(2), 'x': {math.nan}}, {'2': [0, 1], 'x': [None]}),
    ],
)  # fmt: skip
def test_what_is_not_finite_becomes_null(value, read, tmp_path):
    assert strict(to_json(value)) == read
    assert strict(mmengine.dump(value, file_format='json')) == read
    mmengine.dump(value, tmp_path / 'a.json')
    assert strict((tmp_path / 'a.json').read_text()) == read
    assert mmengine.load(tmp_path / 'a.json') == read


def test_other_formats_keep_it(tmp_path):
    mmengine.dump(dict(a=math.nan), tmp_path / 'a.pkl')
    assert math.isnan(mmengine.load(tmp_path / 'a.pkl')['a'])


def test_logged_scalars(tmp_path):
    backends = [dict(type='LocalVisBackend')]
    drawer = EvidenceVisualizer('scalars', vis_backends=backends, save_dir=str(tmp_path))
    drawer.add_scalars(dict(loss=math.nan, acc=0.5), step=3, file_path='log.json')
    drawer.add_scalar('mAP', math.inf, step=4)
    lines = (tmp_path / 'vis_data/scalars.json').read_text().splitlines()
    assert list(map(strict, lines)) == [dict(loss=None, acc=0.5, step=3), dict(mAP=None, step=4)]
    assert strict((tmp_path / 'vis_data/log.json').read_text()) == dict(loss=None, acc=0.5, step=3)


@pytest.mark.parametrize('imported', ['mmlattn.registry', 'mmlattn.evaluation'])
def test_any_part_of_ours_brings_it(imported):
    code = f"import {imported}, mmengine; print(mmengine.dump(dict(a=float('nan')), file_format='json'))"
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert strict(done.stdout) == dict(a=None), done.stderr

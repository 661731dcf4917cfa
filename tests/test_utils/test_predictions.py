"""Predictions are read as data: what a test run writes opens, anything that could run code does not."""

import codecs
import os
import pickle
from io import BytesIO

import numpy as np
import pytest
import torch
from tiny_run import MarkWhenOpened

from mmlattn.utils import UserError
from mmlattn.utils.predictions import load_predictions


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


@pytest.mark.parametrize('protocol', [2, 4])
def test_what_a_test_run_writes_opens(tmp_path, protocol):
    sample = dict(
        img_path='ä.jpg', flip=False, note=None, scale_factor=(np.float64(0.5), 2),
        pred_score=torch.rand(3, 4)[1], half=torch.rand(2).bfloat16(), pred_label=torch.tensor([2]),
        trunk_masks=[torch.rand(1, 2, 2)], empty=torch.empty(0), truth=torch.tensor([True, False]),
    )  # fmt: skip
    (read,) = load_predictions(write(tmp_path / 'a.pkl', [sample], protocol))
    assert read.keys() == sample.keys()
    for name, value in sample.items():
        own = read[name]
        assert type(own) is type(value) and getattr(own, 'dtype', None) == getattr(value, 'dtype', None)
        assert torch.equal(own, value) if torch.is_tensor(value) else str(own) == str(value)


@pytest.mark.parametrize(
    'array',
    [np.eye(2), np.arange(3), np.array(['a', 'b']), np.array([1, None]), np.zeros((0, 4), np.float32)],
    ids=str,
)
def test_arrays_of_both_numpys_open(tmp_path, array):
    path = write(tmp_path / 'a.pkl', [dict(array=array)])
    np.testing.assert_array_equal(load_predictions(path)[0]['array'], array)
    raw = (tmp_path / 'a.pkl').read_bytes()
    assert b'numpy._core.multiarray' in raw or b'numpy.core.multiarray' in raw
    (tmp_path / 'a.pkl').write_bytes(raw.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    np.testing.assert_array_equal(load_predictions(path)[0]['array'], array)


def hidden_in_a_storage(marker):
    file = BytesIO()
    torch.save(dict(note=MarkWhenOpened(marker)), file)
    return Reduced(torch.storage._load_from_bytes, file.getvalue())


HOSTILE = {
    r'asks for \w+\.open, .*add --trust': MarkWhenOpened,
    r'asks for \w+\.open': lambda marker: np.array([MarkWhenOpened(marker)], dtype=object),
    r'asks for \w+\.mkdir': lambda marker: Reduced(os.mkdir, str(marker)),
    r'asks for builtins\.getattr|asks for __builtin__\.getattr': lambda marker: Reduced(
        getattr, marker, 'touch'
    ),
    'Weights only load failed': hidden_in_a_storage,
    r'_no_bytes\(\) takes 0 positional|asks for builtins\.bytes': lambda marker: Reduced(bytes, 10**12),
    "bytes are encoded as 'uu'": lambda marker: Reduced(codecs.encode, 'a', 'uu'),
}


@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize('said', HOSTILE)
def test_code_is_not_run(tmp_path, said, protocol):
    marker = tmp_path / 'marker'
    path = write(tmp_path / 'a.pkl', [dict(note=HOSTILE[said](marker))], protocol)
    with pytest.raises(UserError, match=said):
        load_predictions(path)
    assert not marker.exists()


def test_opened_if_trusted(tmp_path):
    marker = tmp_path / 'marker'
    load_predictions(write(tmp_path / 'a.pkl', [dict(note=MarkWhenOpened(marker))]), trust=True)
    assert marker.exists()


@pytest.mark.parametrize('trust', [False, True])
def test_broken_files_are_explained(tmp_path, trust):
    whole = pickle.dumps([dict(pred_score=torch.rand(3))], 2)
    for content in (b'', b'text', whole[:-20], pickle.dumps([]), pickle.dumps([1]), pickle.dumps(dict(a=1))):
        (tmp_path / 'a.pkl').write_bytes(content)
        with pytest.raises(UserError, match=r'a\.pkl (is cut off|holds no predictions).*tools/test\.py'):
            load_predictions(str(tmp_path / 'a.pkl'), trust)
    with pytest.raises(UserError, match='there is no file'):
        load_predictions(str(tmp_path / 'b.pkl'), trust)

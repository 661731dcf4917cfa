"""Predictions are read as data: what a test run writes opens, anything that could run code does not."""

import codecs
import os
import pickle
import struct
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from tiny_run import MarkWhenOpened, tool_environment

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
    [
        np.eye(2),
        np.arange(3),
        np.array(['a', 'b']),
        np.arange(6, dtype='>i2').reshape(2, 3).T,
        np.zeros((0, 4), np.float32),
    ],
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


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def call(name, *args):
    return b'c' + name.replace(' ', '\n').encode() + b'\n(' + b''.join(args) + b'tR'


def set_state(*state):
    return b'(' + b''.join(state) + b'tb'


def whole(number):
    return b'J' + struct.pack('<i', number)


# numpy's own __setstate__ believes it that O8 with these flags holds no objects, and reads bytes as their addresses.
OBJECTS = call('numpy dtype', text('O8'), b'\x89\x88') + set_state(
    whole(3), text('|'), b'NNN', whole(-1), whole(-1), whole(0)
)
FIELDS = call('numpy dtype', text('V8'), b'\x89\x88') + set_state(
    whole(3), text('|'), b'N', b'(' + text('a') + b't', b'}' + text('a') + b'(' + OBJECTS + whole(0) + b'ts',
    whole(8), whole(1), whole(0),
)  # fmt: skip
FLOATS = call('numpy dtype', text('f8'), b'\x89\x88') + set_state(
    whole(3), text('<'), b'NNN', whole(-1), whole(-1), whole(0)
)
CONTENT = call('_codecs encode', text('AAAAAAAA'), text('latin1'))
ONE = b'(' + whole(1) + b't'
TYPE = call('_codecs encode', text('b'), text('latin1'))
BLANK = call('numpy.core.multiarray _reconstruct', b'cnumpy\nndarray\n', b'(' + whole(0) + b't', TYPE)


def array(shape, dtype):
    return BLANK + set_state(whole(1), shape, dtype, b'\x89', CONTENT)


PAYLOADS = {
    'scalar of an object': call('numpy.core.multiarray scalar', OBJECTS, CONTENT),
    'call of ndarray': call('numpy ndarray', ONE, OBJECTS, CONTENT),
    'array of objects': array(ONE, OBJECTS),
    'fields of objects': array(ONE, FIELDS),
    'more than its bytes': array(b'(' + whole(2) + b't', FLOATS),
    'less than its bytes': array(b'(' + whole(0) + b't', FLOATS),
    'state on a function': b'ctorch._utils\n_rebuild_tensor_v2\n(N}'
    + text('__defaults__')
    + b'('
    + text('x')
    + b'tstb',
    'class of an array': array(ONE, FLOATS) + b'(N}' + text('__class__') + b'cnumpy\nndarray\nstb',
    'cycle': b']q\x00h\x00a',
}
READ = """
import sys, torch, numpy
from mmlattn.utils.predictions import load_predictions
for path in sys.argv[1:]:
    try:
        print(path, 'gives', load_predictions(path), flush=True)
    except ValueError as error:
        print(path, type(error).__name__, flush=True)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == (None,), path
"""


def test_nothing_of_numpy_and_torch_is_within_reach(tmp_path):
    """In a process of its own, which such files could end or change."""
    for name, payload in PAYLOADS.items():
        (tmp_path / name).write_bytes(b'\x80\x02]}' + text('a') + payload + b'sa.')
    done = subprocess.run(
        [sys.executable, '-c', READ, *PAYLOADS],
        env=tool_environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    (tmp_path / 'a.pkl').write_bytes(b'\x80\x02]}' + text('a') + array(ONE, FLOATS) + b'sa.')
    assert (
        load_predictions(str(tmp_path / 'a.pkl'))[0]['a'].tobytes() == b'AAAAAAAA'
    )  # so they are well-formed
    expected = [f'{name} UserError' for name in PAYLOADS]
    assert (done.returncode, done.stdout.splitlines()) == (0, expected), done.stderr


class Strided:
    """A tensor of four numbers that claims to be something else."""

    def __init__(self, offset, size, stride, storage=None):
        rebuild, (own, *_, grad, hooks) = torch.arange(4.0).__reduce_ex__(2)
        self.call = rebuild, (own if storage is None else storage, offset, size, stride, grad, hooks)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [
        (0, (5,), (1,)),
        (4, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (3, 3), (2**62, 2**62)),
        (0, (-1,), (1,)),
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, offset, size, stride):
    fitting = Strided(1, (2, 2), (1, 1))
    (read,) = load_predictions(write(tmp_path / 'a.pkl', [dict(fits=fitting)]))
    assert read['fits'].tolist() == [[1, 2], [2, 3]]
    with pytest.raises(UserError, match='damaged'):
        load_predictions(write(tmp_path / 'a.pkl', [dict(tensor=Strided(offset, size, stride))]))


def test_truth_values_are_0_or_1(tmp_path):
    """Others make numpy and torch count more places than they then fill."""
    raw = pickle.dumps([dict(array=np.array([True, False, True]))], 2)
    changed = raw.replace(b'\x01\x00\x01', b'\x02\x00\x7f')
    assert changed != raw and pickle.loads(changed)[0]['array'].view(np.uint8).tolist() == [2, 0, 127]
    (tmp_path / 'a.pkl').write_bytes(changed)
    assert load_predictions(str(tmp_path / 'a.pkl'))[0]['array'].view(np.uint8).tolist() == [1, 0, 1]
    tensor = torch.tensor([2, 0, 127], dtype=torch.uint8).view(torch.bool)
    (read,) = load_predictions(write(tmp_path / 'b.pkl', [dict(tensor=tensor)]))
    assert read['tensor'].view(torch.uint8).tolist() == [1, 0, 1]


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

"""The fetcher of Fashion-MNIST, on a package made here."""

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.datasets import FashionMNIST

TOOL = Path(__file__).resolve().parents[2] / 'tools/dataset_converters/fashion_mnist.py'
RNG = np.random.default_rng(0)
SPLITS = {
    split: (RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8), RNG.integers(0, 10, n, dtype=np.uint8))
    for split, n in dict(train=6, t10k=4).items()
}
pytestmark = pytest.mark.skipif(shutil.which('dpkg-deb') is None, reason='needs dpkg-deb')


def idx(array):
    """The idx format, as its definition has it."""
    sizes = b''.join(side.to_bytes(4, 'big') for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def make_package(cache, change=lambda name, content: content):
    """Build a .deb with the real one's layout; ``change`` may spoil a file, or drop it with None."""
    folder = cache / 'content/usr/share/datasets/fashion-mnist'
    folder.mkdir(parents=True)
    for split, arrays in SPLITS.items():
        for kind, array in zip(('images-idx3', 'labels-idx1'), arrays, strict=True):
            content = change(f'{split}-{kind}', idx(array))
            if content is not None:
                (folder / f'{split}-{kind}-ubyte.gz').write_bytes(gzip.compress(content))
    control = cache / 'content/DEBIAN/control'
    control.parent.mkdir()
    control.write_text(
        'Package: dataset-fashion-mnist\nVersion: 0\nArchitecture: all\nMaintainer: nobody <n@example.org>\n'
        'Description: made by a test\n'
    )
    package = cache / 'dataset-fashion-mnist_0_all.deb'
    subprocess.run(['dpkg-deb', '--build', cache / 'content', package], check=True, capture_output=True)
    shutil.rmtree(cache / 'content')


def run(tmp_path):
    command = [sys.executable, TOOL, '--cache', tmp_path / 'cache', '--out-dir', tmp_path / 'data set']
    return subprocess.run(command, capture_output=True, text=True)


def test_mmpretrain_reads_what_was_packed(tmp_path):
    make_package(tmp_path / 'cache')
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    assert '6 + 4 pictures written' in result.stdout
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / 'data set').iterdir()}
    for split, (pictures, labels) in zip(('train', 'test'), SPLITS.values(), strict=True):
        dataset = FashionMNIST(
            str(tmp_path / 'data set'), split=split, test_mode=split == 'test', download=False
        )
        assert [int(label) for label in dataset.get_gt_labels()] == labels.tolist()
        for index, picture in enumerate(pictures):
            assert np.array_equal(dataset.get_data_info(index)['img'], picture)
    shutil.rmtree(tmp_path / 'cache')  # with all files there, no package is needed
    assert '6 + 4 pictures are there already' in run(tmp_path).stdout
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / 'data set').iterdir()} == files


def test_files_there_are_kept_and_others_refused(tmp_path):
    make_package(tmp_path / 'cache')
    out = tmp_path / 'data set'
    out.mkdir()
    (out / 'notes.txt').write_text('keep')
    (out / 'train-labels-idx1-ubyte').write_bytes(b'mine')
    result = run(tmp_path)
    assert result.returncode == 1 and 'holds another train-labels-idx1-ubyte' in result.stderr
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        'notes.txt': b'keep',
        'train-labels-idx1-ubyte': b'mine',
    }
    (out / 'train-labels-idx1-ubyte').write_bytes(idx(SPLITS['train'][1]))
    assert run(tmp_path).returncode == 0
    assert len(list(out.iterdir())) == 5


@pytest.mark.parametrize(
    ('spoilt', 'change', 'message'),
    [
        ('train-images-idx3', lambda content: content[:-1], 'cut off'),
        ('t10k-labels-idx1', lambda content: b'\0' + content, 'not an idx file of 1 axes'),
        ('t10k-labels-idx1', lambda content: b'', 'not an idx file of 1 axes'),
        ('train-labels-idx1', lambda content: content[:7] + b'\5' + content[9:], '5 labels'),
        ('train-labels-idx1', lambda content: content[:-1] + b'\n', 'labels up to 10'),
        ('t10k-images-idx3', lambda content: None, 'has no .*t10k-images-idx3-ubyte.gz'),
    ],
)
def test_spoilt_packages_are_refused(tmp_path, spoilt, change, message):
    make_package(tmp_path / 'cache', lambda name, content: change(content) if name == spoilt else content)
    result = run(tmp_path)
    assert result.returncode == 1
    assert not (tmp_path / 'data set').exists()
    assert re.search(message, result.stderr), result.stderr


def test_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    result = run(tmp_path)
    assert result.returncode == 1
    assert '`apt-get` is not on this machine; needed: Debian or Ubuntu' in result.stderr


def test_a_file_in_place_of_the_folder_and_files_still_packed(tmp_path):
    out = tmp_path / 'data set'
    out.touch()
    assert f'error: {out} is a file; choose a folder for --out-dir' in run(tmp_path).stderr
    out.unlink()
    out.mkdir()
    (out / 't10k-labels-idx1-ubyte.gz').write_bytes(gzip.compress(b''))
    assert (
        f'error: {out}/t10k-labels-idx1-ubyte.gz is not unpacked yet: gunzip {out}/' in run(tmp_path).stderr
    )

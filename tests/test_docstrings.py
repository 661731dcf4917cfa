"""Every example in a docstring runs, in a folder with what the examples name."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    for path in (ROOT / 'mmlattn').rglob('*.py')
    if '.mim' not in path.parts and '>>> ' in path.read_text()
}


class Checker(doctest.OutputChecker):
    """Where an example shows no output, any will do: of progress bars and loaders, for instance."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two pictures, our configs, and weights of the one with CSRA."""
    for name in ('a.jpg', 'b.jpg'):
        Image.new('RGB', (64, 48)).save(tmp_path / name)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(Config.fromfile(ROOT / 'configs/csra_resnet-mini_multidigits.py').model)
    meta = dict(dataset_meta=dict(classes=tuple('0123456789')))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'csra.pth')
    monkeypatch.chdir(tmp_path)


def test_examples_are_found():
    assert len(MODULES) > 2


@pytest.mark.parametrize('name', sorted(MODULES))
def test_examples_run(name, folder):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test)
    assert runner.tries and not runner.failures

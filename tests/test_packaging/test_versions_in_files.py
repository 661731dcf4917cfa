"""Version numbers that stand in more than one file agree."""

from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from mmlattn import __version__
from mmlattn.utils.versions import FRAMEWORKS

ROOT = Path(__file__).resolve().parents[2]


def requirements(name: str) -> dict[str, Requirement]:
    lines = (line.split('#')[0].strip() for line in (ROOT / f'requirements/{name}.txt').open())
    return {(parsed := Requirement(line)).name: parsed for line in lines if line}


def test_citation_states_this_version():
    assert yaml.safe_load((ROOT / 'CITATION.cff').read_text())['version'] == __version__


@pytest.mark.parametrize('stack', ['onedl', 'openmmlab'])
def test_extras_and_import_check_ask_for_the_same_ranges(stack):
    asked = requirements(stack)
    ranges = {
        name: limits for module in FRAMEWORKS.values() for name, limits in module.items() if name in asked
    }
    assert len(ranges) == 3
    for name, (lowest, too_new) in ranges.items():
        assert set(str(asked[name].specifier).split(',')) == {f'>={lowest}', f'<{too_new}'}


@pytest.mark.parametrize('stack', ['onedl', 'openmmlab'])
def test_tested_versions_lie_in_the_ranges(stack):
    pins = requirements(f'constraints-{stack}')
    names = [stack, f'{stack}-det', 'runtime', 'onnx', 'openvino', 'hub', 'timm', 'tests', 'grad-cam']
    names += ['openmim'] * (stack == 'openmmlab')
    asked = [item for name in names for item in requirements(name).values()]
    checked = [item.name for item in asked if item.name in pins]
    assert {'torch', 'torchvision', 'numpy', 'onnx', 'pytest', 'ruff'} <= set(checked)
    for item in asked:
        if item.name in pins:
            (pin,) = pins[item.name].specifier
            assert Version(pin.version) in item.specifier, f'{pin} is outside {item}'

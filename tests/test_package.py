"""The import contract: light to import, no circles, imports run one way."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmlattn'
GROUND = {'utils', 'registry', 'structures', 'models.layers'}
BESIDE_MODELS = {'datasets', 'evaluation', 'visualization'}
# Who may import what; utils stands on nothing, and only the roof (apis, register) may import everything.
MAY_IMPORT = {
    '': {'utils', 'version'},
    'version': set(),
    'utils': {'utils', 'version'},
    'registry': {'utils'},
    'structures': {'structures', 'utils'},
    'models.layers': {'models.layers', 'utils'},
    'models': {'models'} | GROUND,
    **dict.fromkeys(BESIDE_MODELS, BESIDE_MODELS | GROUND),
    'engine': {'engine', 'models', 'version'} | BESIDE_MODELS | GROUND,
}
ROOF = {'apis', 'register'}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts}


def imports(name: str) -> set[str]:
    """Our modules that a module names in an import statement anywhere in its text."""
    path, found = MODULES[name], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split('.') if path.name == '__init__.py' else name.split('.')[:-1]
            base = base[: len(base) - node.level + 1] if node.level else []
            source = '.'.join(base + ([node.module] if node.module else []))
            members = {f'{source}.{alias.name}' for alias in node.names}
            found |= {member if member in MODULES else source for member in members}
    return {item for item in found if item in MODULES} - {name}


def area(name: str) -> str:
    """The part of the house a module belongs to: '', 'models.layers', 'datasets' ..."""
    parts = name.split('.')[1:]
    return 'models.layers' if parts[:2] == ['models', 'layers'] else ''.join(parts[:1])


def test_no_import_circles():
    graph = {name: imports(name) for name in MODULES}
    assert sum(map(len, graph.values())) > len(graph) / 2, 'the test finds no imports'
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError naming the circle


@pytest.mark.parametrize('name', sorted(MODULES))
def test_imports_run_one_way(name):
    if area(name) in ROOF:
        return
    wrong = {item for item in imports(name) if area(item) not in MAY_IMPORT[area(name)]}
    assert not wrong, f'{name} must not import {sorted(wrong)}'


def test_import_is_light_and_subpackages_come_when_asked():
    code = (
        'import sys, mmlattn\n'
        'heavy = {"torch", "mmengine", "mmcv", "mmpretrain", "matplotlib", "numpy"} & set(sys.modules)\n'
        'assert not heavy, heavy\n'
        'assert "registry" in dir(mmlattn)\n'
        'assert mmlattn.registry.MODELS.name == "model"\n'
        'assert not {"mmlattn.models", "mmdet"} & set(sys.modules)\n'
        'try: mmlattn.no_such_thing\n'
        'except AttributeError as error: assert "no_such_thing" in str(error)\n'
        'else: raise AssertionError("no error")\n'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)

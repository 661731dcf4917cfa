"""The import contract: light to import, no circles, imports run one way, papers apart, mathematics pure."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmlattn'
SYSTEMS = {'csra', 'ran', 'st_lstm', 'racnn', 'cnn_rnn', 'linear', 'ml_decoder', 'query2label'}
ROOMS = {f'models.{room}' for room in SYSTEMS | {'views'}}
GROUND = {'utils', 'registry', 'structures'}
# What systems share.
SHARED = {'models.layers', 'models.losses', 'models.heads'}
# Who may import what; utils stands on nothing, and only the roof (apis, register) may import everything.
MAY_IMPORT = {
    '': {'utils', 'version'},
    'version': set(),
    '__main__': {'utils'},
    'utils': {'utils', 'version'},
    'registry': {'utils'},
    'structures': {'structures', 'utils'},
    'models.layers': {'models.layers', 'utils'},
    'models.losses': {'models.layers', 'models.losses'} | GROUND,
    'models.heads': SHARED | GROUND,
    # A paper is a room: no system imports another.
    **{room: {room} | SHARED | GROUND for room in ROOMS},
    'models': ROOMS | {'models.losses'},
    'datasets': {'datasets'} | GROUND,
    'evaluation': {'evaluation'} | GROUND,
    'export': {'export', 'evaluation', 'version'} | ROOMS | SHARED | GROUND,
    'projects': {'projects', 'datasets', 'evaluation'} | GROUND,
    'visualization': {'visualization', 'evaluation'} | GROUND,
    'engine': {'engine', 'datasets', 'evaluation', 'version'} | ROOMS | SHARED | GROUND,
}
ROOF = {'apis', 'comparison', 'hub', 'register'}
# The files of mathematics, by room. They are pure: no registry, no framework, no config, no data sample.
MATHEMATICS = {
    'layers': [
        'closed_form', 'feature_layout', 'group_linear', 'lstm_cell', 'precision', 'score_fusion',
        'spatial_transformer', 'transformer_blocks',
    ],
    'losses': ['binary', 'distribution_balanced', 'masking'],
    'heads': [],
    'csra': ['pooling'],
    'linear': ['pooling'],
    'ml_decoder': ['decoder'],
    'query2label': ['positions', 'transformer'],
    'ran': ['attention_module', 'residual_units', 'soft_mask'],
    'st_lstm': ['constraints', 'regions'],
    'racnn': ['boxcar', 'crop', 'ranking', 'squares'],
    'cnn_rnn': [
        'alignment', 'attention_decoder', 'beam_search', 'constraints', 'decoding', 'joint_decoder',
        'likeliest_sets', 'paths', 'scores',
    ],
    'views': ['feature_crops', 'placing'],
}  # fmt: skip
PURE = sys.stdlib_module_names | {'torch', 'numpy', 'scipy'}
FOR_CHECKS = {'mmlattn.utils.errors', 'mmlattn.utils.arguments'}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts}


def named(name: str) -> set[str]:
    """All modules that a module names in an import statement anywhere in its text."""
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
    return found


def imports(name: str) -> set[str]:
    """Those that are ours."""
    return {item for item in named(name) if item in MODULES} - {name}


def area(name: str) -> str:
    """The part of the house a module belongs to: '', 'models.csra', 'datasets' ..."""
    parts = name.split('.')[1:]
    return '.'.join(parts[:2]) if parts[:1] == ['models'] else ''.join(parts[:1])


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


def test_every_room_has_a_rule():
    assert {area(name) for name in MODULES} == MAY_IMPORT.keys() | ROOF
    assert {area(name) for name in MODULES if area(name).startswith('models.')} == ROOMS | SHARED
    assert {f'models.{room}' for room in MATHEMATICS} == ROOMS | SHARED


@pytest.mark.parametrize('name', [f'{room}.{file}' for room, files in MATHEMATICS.items() for file in files])
def test_mathematics_is_pure(name):
    """The standard library, torch and numpy; shared layers, mathematics of the same room, checks of arguments."""
    name = f'mmlattn.models.{name}'
    room = name.split('.')[2]
    pure = {
        f'mmlattn.models.{home}.{file}' for home in (room, 'layers', 'losses') for file in MATHEMATICS[home]
    }
    ours = imports(name)
    assert not ours - pure - FOR_CHECKS, f'{name} must not import {sorted(ours - pure - FOR_CHECKS)}'
    others = {item.split('.')[0] for item in named(name)} - {'mmlattn'}
    assert not others - PURE, f'{name} must not import {sorted(others - PURE)}'


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

"""Rules of the house that can be read off its text: one home for each idea, and nothing that has gone comes back."""

import ast
import builtins
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, TOOLS = ROOT / 'mmlattn', ROOT / 'tools'
OURS = {
    str(path.relative_to(ROOT)): path.read_text()
    for folder in (PACKAGE, TOOLS)
    for path in sorted(folder.rglob('*.py'))
    if '.mim' not in path.parts
}
BUILTIN_ERRORS = {
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
# What a user can put right is a UserError, whatever the phase. These no user can, or Python asks for them by name.
OTHER_ERRORS = {
    # Of __getattr__.
    'mmlattn/__init__.py': {'AttributeError'},
    'mmlattn/comparison/stored.py': {'AttributeError'},
    'mmlattn/engine/reproducibility/seeded_dataset.py': {'AttributeError'},
    'mmlattn/engine/reproducibility/epoch_loop.py': {'AttributeError'},
    'mmlattn/datasets/unreadable_pictures.py': {'AttributeError'},
    # The exit status after SIGTERM, and Ctrl-C with a word on what is kept.
    'mmlattn/engine/hooks/stop_signal.py': {'SystemExit'},
    'mmlattn/utils/launch/resume.py': {'KeyboardInterrupt'},
    # Of `import mmlattn`.
    'mmlattn/utils/versions.py': {'ImportError'},
    # As mmengine's parser of --cfg-options raises them, and turned into one line where that is called.
    'mmlattn/utils/launch/flags.py': {'AssertionError'},
    # Two ways to search disagree.
    'tools/analysis_tools/benchmark_beam_search.py': {'RuntimeError'},
}


def raised(text: str) -> set[str]:
    """Names of the built-in errors that a file raises."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found.add(ast.unparse(error))
    return found & BUILTIN_ERRORS


def test_a_mistake_of_the_user_has_one_class():
    assert {name: errors for name, text in OURS.items() if (errors := raised(text))} == OTHER_ERRORS


# A pattern, and the only files that may have it.
HOMES = [
    # Settings that travel with weights.
    (r'SettingsCode|StoresSettings|StoresNumbers|settings_code|stored_numbers', ()),
    (
        r'register_buffer\((?!.*persistent=False)',
        ('utils/stored_settings.py', 'models/cnn_rnn/head.py', 'models/losses/class_counts.py'),
    ),
    # What only tests used.
    (r'\bboxcar_mask\b|boxcar_mask_gradients|theta_to_matrix|early_stop|conv_units', ()),
    (r'def (path_targets|theta_to_boxes|boxes_to_theta|place_squares)\([^)]*\b(max_len|size|most)\b', ()),
    # Options that nobody used.
    (r'shared_weights|loss_norm|in_index|pool_size|lambda_boundary', ()),
    (r'reduction_k|detach_reference|pretrain_target', ()),
    # Json without NaN.
    (r'json\.dumps?\(', ('utils/json_files.py', 'utils/stored_settings.py')),
    # One rule for ties.
    (r'def \w*select_labels\(', ('structures/labels.py',)),
]


@pytest.mark.parametrize(('pattern', 'homes'), HOMES, ids=[pattern for pattern, _ in HOMES])
def test_has_one_home_or_none(pattern, homes):
    found = {name for name, text in OURS.items() if re.search(pattern, text)}
    assert found <= {f'mmlattn/{home}' for home in homes}


def test_no_tool_imports_another():
    """What two tools share is in the package; the demo is one tool in several files."""
    tools = {name: text for name, text in OURS.items() if re.match('tools/(?!demo/)', name)}
    names = {Path(name).stem for name in tools}
    for name, text in tools.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                assert not node.level and node.module.split('.')[0] not in names, name
            elif isinstance(node, ast.Import):
                assert not {alias.name.split('.')[0] for alias in node.names} & names, name


def test_references_have_one_folder():
    """What the tests hold our mathematics against: tests/reference/, one file for a system."""
    tests = {path.relative_to(ROOT / 'tests') for path in (ROOT / 'tests').rglob('*.py')}
    named = {path for path in tests if re.search('reference|foreign', path.name)}
    assert {path.parts[0] for path in named} <= {'reference'}
    assert len([path for path in tests if path.parts[0] == 'reference']) > 4

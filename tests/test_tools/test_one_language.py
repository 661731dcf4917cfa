"""The tools speak one language, and what two of them share is in the package."""

import ast
import re

import pytest
from tiny_run import TOOLS

FILES = {str(path.relative_to(TOOLS)): path for path in sorted(TOOLS.rglob('*.py'))}
PARTS_OF_THE_DEMO = {'demo/gallery.py', 'demo/jobs.py'}
OTHER_WORDS = {
    '--trust': '--trust-checkpoint', '--batch': '--batch-size', '--runs': '--repeats', '--rounds': '--repeats',
    '--score-thr': '--threshold', '--thr': '--threshold', '--output': '--out',
    '--out-file': '--out', '--show-dir': '--out-dir',
}  # fmt: skip
OTHER_WORDS_OF_MMPRETRAIN = {'test.py': {'--show-dir'}}


@pytest.mark.parametrize('name', FILES)
def test_no_tool_imports_a_sibling(name):
    if name.startswith('demo/'):  # one program
        return
    imported = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            imported.add(node.module.partition('.')[0])
    assert not imported & {path.stem for path in FILES.values()}


# An example to copy from, which imports nothing of ours.
STANDS_ALONE = {'deployment/predict_onnx.py'}


@pytest.mark.parametrize('name', [name for name in FILES if name not in PARTS_OF_THE_DEMO | STANDS_ALONE])
def test_mistakes_end_in_one_line(name):
    text = FILES[name].read_text()
    assert 'run_tool(main)' in text
    assert not re.search(r'except \((ValueError|RuntimeError)', text)


@pytest.mark.parametrize('name', FILES)
def test_flags_have_one_name(name):
    flags = re.findall(r"add_argument\(\s*'(--[\w-]+)'(.*?)\)\n", FILES[name].read_text(), re.DOTALL)
    for flag, rest in flags:
        if flag not in OTHER_WORDS_OF_MMPRETRAIN.get(name, ()):
            assert flag not in OTHER_WORDS, f'{flag} is called {OTHER_WORDS.get(flag)}'
        assert flag != '--classes' or 'type=int' not in rest, '--classes are names, --num-classes a number'
        assert flag != '--out' or 'folder' not in rest, '--out is a file, --out-dir a folder'
        assert flag not in ('--cfg-options', '--trust-checkpoint') or name.endswith('compare_runs.py'), (
            'from mmlattn.utils.launch.flags'
        )

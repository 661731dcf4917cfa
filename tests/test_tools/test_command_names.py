"""``python -m mmlattn COMMAND``: every tool by its name, from anywhere."""

import subprocess
import sys

import pytest
from tiny_run import TOOLS, tool_environment

from mmlattn.__main__ import commands, main, overview


def test_every_tool_has_a_name_of_its_own_and_says_what_it_is():
    files = [path for path in TOOLS.rglob('*.py') if '__main__' in path.read_text()]
    found = commands()
    assert sorted(map(str, found.values())) == sorted(map(str, files)), 'two tools are called alike'
    assert {'train', 'test', 'predict', 'new_project', 'tune_thresholds', 'check_dataset'} <= found.keys()
    lines = overview(found).splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(found)
    assert all(len(line.split()) > 3 and '"' not in line for line in lines)


@pytest.mark.parametrize(
    ('args', 'status', 'words'),
    [
        ([], 0, 'usage: python -m mmlattn COMMAND'),
        (['predikt'], 1, 'no command predikt: did you mean predict'),
    ],
)
def test_what_is_no_command(monkeypatch, capsys, args, status, words):
    monkeypatch.setattr(sys, 'argv', ['mmlattn', *args])
    if status:
        with pytest.raises(SystemExit, match='1'):
            main()
    else:
        main()
    assert words in ''.join(capsys.readouterr())


def test_flags_and_modules_of_the_working_directory_arrive(tmp_path):
    """A config's custom_imports find what lies where the command is typed."""
    (tmp_path / 'my_own.py').write_text('print("imported my_own")\n')
    (tmp_path / 'mine.py').write_text(
        "custom_imports = dict(imports=['my_own'])\nmodel = dict(type='Nothing')\n"
    )
    command = [sys.executable, '-W', 'ignore', '-m', 'mmlattn', 'check_dataset', 'mine.py', '--json', 'o']
    run = subprocess.run(command, cwd=tmp_path, env=tool_environment(), capture_output=True, text=True)
    assert run.returncode == 1 and 'imported my_own' in run.stdout, run.stderr
    assert run.stderr.strip().splitlines()[-1].startswith('error: '), run.stderr

import subprocess
import sys

from mmlattn.utils.versions import FRAMEWORKS, installed_versions
from mmlattn.version import __version__


def test_report_names_every_installed_framework():
    done = subprocess.run(
        [sys.executable, '-m', 'mmlattn.utils.collect_env'], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    for ranges in FRAMEWORKS.values():
        for name, version in installed_versions(*ranges).items():
            assert f'{name}: {version}' in lines
    assert any(line.startswith('PyTorch: ') for line in lines)
    assert any(line.startswith(f'mmlattn: {__version__}') for line in lines)
    assert 'RuntimeWarning' not in done.stderr

"""Where mmdet is missing, its tests are skipped with a reason, or fail where it was asked for."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(('required', 'status'), [('0', 0), ('1', 1)], ids=['not asked for', 'asked for'])
def test_without_mmdet(required, status, repo_root, tmp_path):
    (tmp_path / 'sitecustomize.py').write_text(
        "import sys\nsys.modules['mmdet'] = sys.modules['mmcv._ext'] = None\n"
    )
    paths = [str(tmp_path), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pytest',
            '-rs',
            '-p',
            'no:cacheprovider',
            'tests/test_detection',
            '-k',
            'dumped',
        ],
        cwd=repo_root,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            'MMLATTN_REQUIRE_DET': required,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout
    assert ('bash tools/run_tests.sh --det' in done.stdout) == (required == '0')

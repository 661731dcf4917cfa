"""Without mmdet these tests are skipped; ``bash tools/run_tests.sh --det`` installs it and makes them count."""

import importlib
import os

import pytest


@pytest.fixture(scope='session', autouse=True)
def _mmdet():
    """Skip without mmdet and compiled operators; fail where the environment says that they must be there."""
    import torch  # noqa: F401 (the operators are linked to it)

    if os.environ.get('MMLATTN_REQUIRE_DET') == '1':
        importlib.import_module('mmcv._ext')
        importlib.import_module('mmdet')
    else:
        reason = 'detection needs mmdet and the compiled operators of mmcv: bash tools/run_tests.sh --det'
        pytest.importorskip('mmcv._ext', reason=reason)
        pytest.importorskip('mmdet', reason=reason)

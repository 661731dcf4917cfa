"""Which versions of the OpenMMLab frameworks mmlattn works with.

Read from package metadata only, so that ``import mmlattn`` stays light and no half-broken framework is imported
to find out that it is the wrong one.
"""

import warnings
from importlib import metadata

from packaging.version import Version

# import name -> distribution -> (lowest version, first version too new); the ranges of requirements/*.txt.
FRAMEWORKS = {
    'mmengine': {'onedl-mmengine': ('0.10.12', '0.11'), 'mmengine': ('0.10.7', '0.11')},
    'mmcv': {
        'onedl-mmcv': ('2.3.6', '2.4'), 'mmcv-lite': ('2.1.0', '2.3'), 'mmcv': ('2.1.0', '2.3'),
    },
    'mmpretrain': {'onedl-mmpretrain': ('1.3.6', '1.4'), 'mmpretrain': ('1.2.0', '1.3')},
}  # fmt: skip
REMEDY = (
    'install the frameworks with `pip install "mmlattn[onedl]"` (default) or `pip install "mmlattn[openmmlab]"` '
    '(upstream OpenMMLab), or from a clone with `bash tools/setup_env.sh`'
)
# First version of transformers that breaks `import mmpretrain` as soon as pycocotools is installed as well.
TRANSFORMERS_LIMIT = {'onedl-mmpretrain': '5', 'mmpretrain': '4.50'}


def installed_versions(*distributions: str) -> dict[str, str]:
    """Versions of those of the named distributions that are installed, in the given order."""
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_frameworks() -> None:
    """Check that one supported version of mmengine, mmcv and mmpretrain is installed.

    Two distributions of one framework, and a transformers that breaks mmpretrain, bring a warning: what is then
    imported depends on the order of installation.

    Raises:
        ImportError: If a framework is missing or outside the supported range.
    """
    for module, ranges in FRAMEWORKS.items():
        found = installed_versions(*ranges)
        if not found:
            raise ImportError(f'mmlattn needs {module}, which is not installed: {REMEDY}')
        for name, version in found.items():
            lowest, too_new = ranges[name]
            if not Version(lowest) <= Version(version) < Version(too_new):
                raise ImportError(f'mmlattn needs {name}>={lowest},<{too_new} but found {version}: {REMEDY}')
        if len(found) > 1:
            names = ' and '.join(found)
            warnings.warn(
                f'{names} are both installed and overwrite each other: uninstall both, then {REMEDY}'
            )
    _check_transformers()


def _check_transformers() -> None:
    found = installed_versions('transformers', 'pycocotools', *TRANSFORMERS_LIMIT)
    for name, limit in TRANSFORMERS_LIMIT.items():
        clash = {'transformers', 'pycocotools', name} <= found.keys()
        if clash and Version(found['transformers']) >= Version(limit):
            warnings.warn(
                f'{name} {found[name]} fails to import when transformers {found["transformers"]} and pycocotools '
                f'are both installed: `pip install "transformers<{limit}"` or `pip uninstall transformers`'
            )

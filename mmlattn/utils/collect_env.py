"""What a bug report needs to know: ``python -m mmlattn.utils.collect_env``."""

from pathlib import Path

from mmengine.utils import get_git_hash
from mmengine.utils.dl_utils import collect_env as collect_base_env

from mmlattn.utils.versions import FRAMEWORKS, installed_versions
from mmlattn.version import __version__

OTHERS = ('onedl-mim', 'openmim', 'onedl-mmdetection', 'mmdet', 'setuptools', 'transformers', 'pycocotools')


def collect_env() -> dict[str, str]:
    """The report of mmengine (system, Python, GPU, PyTorch ...) and versions of the distributions mmlattn rests on.

    Distributions, not import names: two of them provide the same. mmlattn's own version has the commit, where it runs
    from a git checkout.
    """
    info = {key: str(value) for key, value in collect_base_env().items()}
    frameworks = [name for ranges in FRAMEWORKS.values() for name in ranges]
    info.update(installed_versions(*frameworks, *OTHERS))
    root = Path(__file__).resolve().parents[2]
    commit = f'+{get_git_hash(digits=7)}' if (root / '.git').exists() and Path.cwd() == root else ''
    info['mmlattn'] = f'{__version__}{commit}, {root / "mmlattn"}'
    return info


if __name__ == '__main__':
    for key, value in collect_env().items():
        print(f'{key}: {value}')

"""Build script of mmlattn.

Everything is ordinary setuptools except one thing: OpenMMLab's package manager ``mim`` looks for a project's
``configs/``, ``tools/`` and ``model-index.yml`` under ``mmlattn/.mim``. A wheel gets copies of them there; an
editable install (``pip install -e .``, ``setup.py develop``) gets relative symlinks in the source tree; an sdist
carries the originals, so that a wheel built from it is the same wheel. The hooks are command classes, because
what stands in ``sys.argv`` differs from one front end to the next.
"""

import os
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
PAYLOAD = ('configs', 'tools', 'model-index.yml')


def copy_payload(target: Path) -> None:
    """Copy the payload to ``target``, leaving out what Python and editors drop beside sources."""
    ignore = shutil.ignore_patterns('__pycache__', '*.pyc', '.*')
    for name in PAYLOAD:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, target / name)


def link_payload(target: Path) -> None:
    """Link the payload into ``target`` inside the source tree; copy it where links are not allowed."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    try:
        for name in PAYLOAD:
            (target / name).symlink_to(os.path.relpath(ROOT / name, target), (ROOT / name).is_dir())
    except OSError:  # Windows without developer mode
        shutil.rmtree(target)
        target.mkdir()
        copy_payload(target)


class BuildPy(build_py):
    """Add the payload to the modules."""

    def run(self) -> None:
        if self.editable_mode:
            link_payload(ROOT / 'mmlattn' / '.mim')
            return super().run()
        # A file deleted from the sources would otherwise live on in every later wheel.
        shutil.rmtree(Path(self.build_lib, 'mmlattn'), ignore_errors=True)
        super().run()
        target = Path(self.build_lib, 'mmlattn', '.mim')
        target.mkdir()
        copy_payload(target)


class BdistWheel(bdist_wheel):
    """Leave no build folder in the tree: mim would find each config a second time there."""

    def run(self) -> None:
        super().run()
        build = self.get_finalized_command('build')
        shutil.rmtree(Path(build.build_lib, 'mmlattn'), ignore_errors=True)
        for folder in (Path(self.bdist_dir).parent, Path(build.build_lib), Path(build.build_base)):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


class Develop(develop):
    """Editable installs the old way, the only ones openmim 0.3.9 finds."""

    def run(self) -> None:
        link_payload(ROOT / 'mmlattn' / '.mim')
        super().run()


def requirements(name: str) -> list[str]:
    """Requirements listed in ``requirements/<name>.txt``, comments dropped."""
    lines = (line.split('#')[0].strip() for line in (ROOT / 'requirements' / f'{name}.txt').open())
    return [line for line in lines if line]


def version() -> str:
    namespace: dict = {}
    exec((ROOT / 'mmlattn' / 'version.py').read_text(), namespace)
    return namespace['__version__']


EXTRAS = ('hub', 'onedl', 'onedl-det', 'openmmlab', 'openmmlab-det', 'onnx', 'openvino', 'tests', 'timm')

setup(
    name='mmlattn',
    version=version(),
    description='Attention models for multi-label and fine-grained recognition, as a plugin for OpenMMLab 2.x',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='computer vision, multi-label classification, attention, OpenMMLab',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.10',
    packages=find_packages(include=['mmlattn', 'mmlattn.*']),
    package_data={'mmlattn.visualization.pages': ['templates/*']},
    install_requires=requirements('runtime'),
    extras_require={name: requirements(name) for name in EXTRAS},
    cmdclass={'build_py': BuildPy, 'bdist_wheel': BdistWheel, 'develop': Develop},
    zip_safe=False,
)

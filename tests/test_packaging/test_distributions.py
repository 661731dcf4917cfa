"""sdist, wheel and editable installs carry the same files, and mim finds what it needs in them."""

import os
import shutil
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from export_cases import write_case

from mmlattn.utils.versions import installed_versions

ROOT = Path(__file__).resolve().parents[2]
MIM = installed_versions('openmim', 'onedl-mim')
pytestmark = pytest.mark.packaging


def run(*command, cwd=None, env=None) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f'{command} failed:\n{done.stdout}{done.stderr}'
    return done.stdout


def tracked(*folders: str) -> set[str]:
    """Files git tracks or would track; what someone deleted but did not commit is left out."""
    listing = run('git', 'ls-files', '--cached', '--others', '--exclude-standard', *folders, cwd=ROOT)
    return {name for name in listing.splitlines() if (ROOT / name).is_file()}


def payload() -> set[str]:
    return {
        name for name in tracked('configs', 'tools', 'model-index.yml') if not Path(name).name.startswith('.')
    }


@pytest.fixture(scope='module')
def tree(tmp_path_factory) -> Path:
    """A copy of the checkout, so that no build litters it."""
    copy = tmp_path_factory.mktemp('tree') / 'mmlattn-checkout'
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


def build(kind: str, source: Path, out: Path) -> Path:
    code = f'from setuptools import build_meta as b; b.build_{kind}({str(out)!r})'
    run(sys.executable, '-W', 'ignore', '-c', code, cwd=source)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope='module')
def sdist(tree, tmp_path_factory) -> Path:
    return build('sdist', tree, tmp_path_factory.mktemp('sdist'))


@pytest.fixture(scope='module')
def wheel(tree, tmp_path_factory) -> Path:
    (tree / 'build/lib/mmlattn').mkdir(parents=True)
    (tree / 'build/lib/mmlattn/deleted_long_ago.py').touch()
    (tree / 'build/kept.txt').write_text('belongs to the user')
    return build('wheel', tree, tmp_path_factory.mktemp('wheel'))


def test_wheel_holds_modules_and_payload_and_nothing_else(tree, wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith('/')}
    modules = {name for name in tracked('mmlattn') if name.endswith('.py') or '/templates/' in name}
    assert any(name.endswith('.j2') for name in modules)
    assert {name for name in names if '.dist-info/' not in name} == modules | {
        f'mmlattn/.mim/{name}' for name in payload()
    }
    assert [path.name for path in (tree / 'build').iterdir()] == ['kept.txt']
    assert not (tree / 'mmlattn/.mim').exists()


def test_sdist_builds_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (source,) = tmp_path.iterdir()
    assert {path.name for path in source.iterdir()} >= {
        'LICENSE',
        'CITATION.cff',
        'CHANGELOG.md',
        'requirements',
    }
    (tmp_path / 'out').mkdir()
    again = build('wheel', source, tmp_path / 'out')
    ours, theirs = zipfile.ZipFile(wheel), zipfile.ZipFile(again)
    assert sorted(ours.namelist()) == sorted(theirs.namelist())
    for name in ours.namelist():
        if '.dist-info/' not in name:
            assert ours.read(name) == theirs.read(name), name


def test_config_basenames_are_unique():
    """Mim looks configs up by basename in the whole package, or in the whole checkout."""
    counts = Counter(
        Path(name).name for name in tracked('configs', 'mmlattn', 'tools') if name.endswith('.py')
    )
    configs = {Path(name).name for name in tracked('configs') if name.endswith('.py')}
    assert {name for name in configs if counts[name] > 1} == set()


@pytest.fixture(scope='module')
def probe_tree(tree, tmp_path_factory) -> Path:
    """The checkout with a training script that only tells how it was called, and one config of its own."""
    copy = tmp_path_factory.mktemp('probe') / 'mmlattn-checkout'
    shutil.copytree(tree, copy, ignore=shutil.ignore_patterns('build', '*.egg-info'))
    (copy / 'tools/train.py').write_text('import sys\nprint("CALLED", __file__, *sys.argv[1:], sep="|")\n')
    (copy / 'configs/probe_config.py').write_text('_base_ = ["_base_/default_runtime.py"]\n')
    return copy


def scratch_python(folder: Path) -> Path:
    """A virtual environment on top of the running one: installs go into it, everything else shows through."""
    venv.create(folder, symlinks=True)
    (below,) = folder.glob('lib/python3*/site-packages')
    (below / 'below.pth').write_text('\n'.join(site.getsitepackages()))
    (folder / 'bin/mim').write_text('from mim.cli import cli\ncli()\n')  # as pip writes console scripts
    return folder / 'bin/python'


def install(python: Path, how: str, source: Path) -> None:
    if how == 'develop':
        run(python, '-W', 'ignore', 'setup.py', '-q', 'develop', '--no-deps', cwd=source)
        return
    pip = [python, '-m', 'pip', '-q', 'install', '--no-deps', '--no-build-isolation', '--ignore-installed']
    run(*pip, *(['-e'] if how == 'editable' else []), '.', cwd=source)
    if how == 'editable':  # with build isolation, that is by default, pip leaves the same folder behind
        run(python, 'setup.py', '-q', 'egg_info', cwd=source)


def mim_train(mim: list, config: str, cwd: Path) -> list[str]:
    """Call ``mim train`` and return what reached our script: its path, then its arguments."""
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    arguments = ['train', 'mmlattn', config, '--gpus', '1', '--work-dir', 'a folder']
    lines = run(*mim, *arguments, cwd=cwd, env=env).splitlines()
    return next(line for line in lines if line.startswith('CALLED') and 'a folder' in line).split('|')[1:]


# What docs/installation.md says works: how installed, which mim, started from where, config given as what.
CELLS = [
    ('wheel', 'openmim', 'elsewhere', 'name'),
    ('develop', 'openmim', 'elsewhere', 'name'),
    ('develop', 'openmim', 'root', 'path'),
    ('editable', 'openmim', 'module', 'path'),
    ('editable', 'onedl-mim', 'root', 'path'),
    ('editable', 'onedl-mim', 'elsewhere', 'absolute'),
]


@pytest.mark.slow
@pytest.mark.parametrize(('how', 'mim', 'start', 'given'), CELLS, ids=['-'.join(cell) for cell in CELLS])
def test_mim_train_finds_script_and_config(how, mim, start, given, probe_tree, tmp_path):
    if mim not in MIM:
        pytest.skip(f'{mim} is not the mim of this environment')
    source = tmp_path / 'checkout'
    shutil.copytree(probe_tree, source)
    python = scratch_python(tmp_path / 'env')
    install(python, how, source)
    config = {'name': 'probe_config.py', 'path': 'configs/probe_config.py'}.get(given)
    config = config or str(source / 'configs/probe_config.py')
    command = (
        [python, '-W', 'ignore', '-m', 'mim'] if start == 'module' else [python, tmp_path / 'env/bin/mim']
    )
    script, used, *arguments = mim_train(command, config, tmp_path if start == 'elsewhere' else source)
    home = tmp_path / 'env' if how == 'wheel' else source
    assert Path(script).resolve().is_relative_to(home.resolve())
    assert Path(script).parts[-2:] == ('tools', 'train.py')
    used = (source / used).resolve()
    assert used.parts[-2:] == ('configs', 'probe_config.py')
    assert (used.parent / '_base_/default_runtime.py').is_file()
    assert arguments == ['--launcher', 'none', '--work-dir', 'a folder']


@pytest.mark.slow
def test_editable_payload_is_relative_links(probe_tree, tmp_path):
    """Relative, so that the checkout may be moved or mounted elsewhere."""
    source = tmp_path / 'checkout'
    shutil.copytree(probe_tree, source)
    install(scratch_python(tmp_path / 'env'), 'editable', source)
    links = {path.name: path.readlink() for path in (source / 'mmlattn/.mim').iterdir()}
    assert links == {name: Path('../..', name) for name in ('configs', 'tools', 'model-index.yml')}


@pytest.mark.slow
@pytest.mark.export
def test_a_wheel_exports_by_one_command(wheel, tmp_path):
    """In an empty folder, without the checkout."""
    python = scratch_python(tmp_path / 'env')
    run(python, '-m', 'pip', '-q', 'install', '--no-deps', '--ignore-installed', wheel)
    folder = tmp_path / 'empty'
    folder.mkdir()
    cfg, checkpoint = write_case(tmp_path, 'linear')
    cfg.dump(folder / 'config.py')
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | dict(OMP_NUM_THREADS='1')
    flags = ['--format', 'torch', '--out', 'model.pt2', '--with-logits']
    said = run(
        python,
        '-W',
        'ignore',
        '-m',
        'mmlattn',
        'export',
        'config.py',
        checkpoint,
        *flags,
        cwd=folder,
        env=env,
    )
    assert 'wrote model.pt2' in said
    assert sorted(path.name for path in folder.iterdir()) == ['config.py', 'model.pt2']

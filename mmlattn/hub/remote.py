"""Folders of models to and from huggingface_hub, which is imported where it is needed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.model import BaseModel

from mmlattn.apis.loading import check_device
from mmlattn.utils.errors import UserError

from .folders import FILES, load_folder

_REPOSITORY = re.compile(r'[\w.-]+/[\w.-]+')


def from_pretrained(
    source: str | Path, *, revision: str | None = None, device: str = 'cpu', api: Any = None
) -> BaseModel:
    """A published model, ready to predict, with its classes and decision; ``MultiLabelInferencer`` takes it.

    Args:
        source (str | Path): A folder that :func:`mmlattn.save_pretrained` wrote, or a repository, ``user/name``, of
            huggingface_hub that holds one. A folder comes first.
        revision (str, optional): Branch, tag or commit of the repository. What a branch holds may change.
        device (str): Where to put it.
        api (huggingface_hub.HfApi, optional): With another endpoint or token than the usual ones.

    Returns:
        BaseModel: In evaluation mode. No code of the folder or repository is run.

    Raises:
        UserError: If there is nothing, it is damaged, or it asks for more than weights and registered classes.
    """
    check_device(device)
    if Path(source).is_dir():
        if revision is not None:
            raise UserError(f'{source} is a folder, which has no revision: leave revision out')
        folder = Path(source)
    elif _REPOSITORY.fullmatch(str(source)):
        with _told(f'{source} could not be fetched'):
            api = api or _api()
            folder = api.snapshot_download(str(source), revision=revision, allow_patterns=list(FILES))
    else:
        raise UserError(f'there is no folder {source}, and a repository is named user/name')
    return load_folder(folder).to(device)


def push_to_hub(
    folder: str | Path, repository: str, *, private: bool = True, message: str | None = None, api: Any = None
) -> str:
    """Put a folder that :func:`mmlattn.save_pretrained` wrote into a repository, which is made if there is none.

    Args:
        folder (str | Path): It is opened first, as others will; no more than its three files is sent, and no link.
        repository (str): ``user/name``.
        private (bool): Whether a new repository is for its owner alone.
        message (str, optional): Of the commit.
        api (huggingface_hub.HfApi, optional): With another endpoint or token than the usual ones.

    Returns:
        str: The address.

    Raises:
        UserError: If the folder is no such folder, or the hub does not take it.
    """
    check_push(repository)
    for file in (Path(folder, name) for name in FILES):
        if file.is_symlink():
            raise UserError(f'{file} is a link, which could lead to anything: put the file itself there')
    load_folder(folder)
    with _told(f'{repository} could not be written'):
        api = api or _api()
        place = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            commit_message=message or 'A model of mmlattn',
        )
    return str(place)


def check_push(repository: str) -> None:
    """Raises ``UserError`` for what is no name of a repository, and without huggingface_hub."""
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f'a repository is named user/name, got {repository!r}')
    _api()


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError('huggingface_hub is not installed: pip install huggingface_hub') from error
    return HfApi(library_name='mmlattn')


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # those of huggingface_hub and of what it sends with
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f'{what} ({reason}): see that the name, the network and the token are right'
        ) from error

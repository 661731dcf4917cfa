"""Checkpoints are data, not code.

A pickle can run anything when it is opened. Here checkpoints are read by torch's weights-only reader: tensors, plain
containers, and of the other objects those of :mod:`.safe_objects`. The tools and apis call :func:`use_safe_loading`,
which puts one such reader in the place of all of mmengine's: mmengine 0.10.7 opens URLs with full pickle,
onedl-mmengine falls back to it for files, and both take files at their word that name ``getattr``.
"""

import hashlib
import http.client
import os
import os.path as osp
import pickletools
import re
import socket
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import mmengine.dist
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..errors import UserError
from .archives import archive_damage
from .content import check_content
from .safe_objects import SAFE_GLOBALS, make
from .safetensors_files import CONFIG_TEXTS, BrokenFileError, is_safetensors, read_safetensors

#: Seconds without an answer after which a download is given up.
DOWNLOAD_TIMEOUT = 20

# Whose tables of names and places mmengine has.
_NAMED = {
    **dict.fromkeys(('torchvision', 'modelzoo'), mmengine_checkpoint.get_torchvision_models),
    **dict.fromkeys(('openmmlab', 'open-mmlab'), mmengine_checkpoint.get_external_models),
    'mmcls': mmengine_checkpoint.get_mmcls_models,
}


def load_weights_only(file: str | BytesIO, map_location: Any = None) -> Any:
    """Read a checkpoint, the path or bytes of a file, without running anything it holds.

    ``torch.save`` wrote it, or it is one of safetensors.

    Raises:
        UserError: If the file asks for more than weights and mmengine's log history.
        BrokenFileError: If it is cut off or no checkpoint, or does not agree with the checksums in it.
    """
    if is_safetensors(file):
        return read_safetensors(file, map_location)
    damage = archive_damage(file)
    if damage:
        raise BrokenFileError(f'cannot be read as weights ({damage})')
    if not zipfile.is_zipfile(file) and tarfile.is_tarfile(file):
        # torch would unpack it onto the disk to find out.
        raise UserError('is a tar archive, as torch wrote them before version 0.1.10')
    if isinstance(file, BytesIO):
        file.seek(0)
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        try:
            return make(torch.load(file, map_location=map_location, weights_only=True))
        except Exception as error:  # whatever a hostile or broken file makes the reader stumble over
            asked = re.search(r'GLOBAL (getattr\(.*\)|\S+)', str(error))
            if asked:
                raise UserError(f'asks for {asked[1]}') from error
            detail = re.search(r'WeightsUnpickler error:\s*(.*)', str(error)) or re.match(r'(.*)', str(error))
            reason = f'cannot be read as weights ({detail[1] or type(error).__name__})'
            operand = re.match(r'Unsupported operand (\d+)', detail[1])
            if operand and chr(int(operand[1])) in pickletools.code2op:  # a pickle, with more than weights
                raise UserError(reason) from error
            raise BrokenFileError(reason) from error


class SafeLoader:
    """The reader behind mmengine's ``CheckpointLoader``, for every scheme.

    What it gives is whole and sound (:mod:`.archives`, :mod:`.content`). The text of the config that a
    checkpoint carries is left out: mmengine would run it when it resumes.

    Args:
        trust (bool): Whether the user vouches for every checkpoint of this run.
        run_dir (str, optional): Working directory of the run that is being resumed; files that really lie
            directly in it (symbolic links followed, subfolders left out) are this run's own and trusted.
    """

    def __init__(self, trust: bool = False, run_dir: str | None = None) -> None:
        self.trust = trust
        self.run_dir = None if run_dir is None else osp.realpath(run_dir)

    def load(self, filename: str, map_location: Any = None) -> Any:
        """Read a checkpoint from a path, a URL (kept in torch's hub cache), ``s3://``, or the name that torchvision,
        OpenMMLab or MMClassification gave to weights.

        Raises:
            UserError: If it is not there, is refused, or comes from somewhere else.
        """
        scheme, _, name = filename.rpartition('://')
        if not scheme:
            if not osp.isfile(osp.expanduser(filename)):
                raise UserError(f'there is no checkpoint {filename}')
            return self._read(osp.expanduser(filename), filename, map_location)
        if scheme in ('http', 'https'):
            return self._read(_fetch(filename), filename, map_location)
        if scheme.rpartition(':')[2] in ('s3', 'petrel'):
            backend = get_file_backend(filename, backend_args={'backend': 'petrel'})
            return self._read(BytesIO(backend.get(filename)), filename, map_location)
        checkpoint = self.load(_place_of_named(filename, scheme, name), map_location)
        if scheme != 'mmcls':
            return checkpoint
        weights = checkpoint.get('state_dict', checkpoint)
        prefix = 'backbone.'
        return {'state_dict': {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}}

    def _read(self, file: str | BytesIO, name: str, map_location: Any) -> Any:
        checkpoint = _without_config(self._open(file, name, map_location))
        check_content(checkpoint, name)
        return checkpoint

    def _open(self, file: str | BytesIO, name: str, map_location: Any) -> Any:
        try:
            return load_weights_only(file, map_location)
        except BrokenFileError as error:
            where = f' ({file})' if isinstance(file, str) and file != name else ''
            raise UserError(
                f'{name}{where} {error}: it is cut off, damaged or no checkpoint. Delete it and fetch it again'
            ) from error
        except UserError as error:
            of_this_run = isinstance(file, str) and osp.dirname(osp.realpath(file)) == self.run_dir
            if not (self.trust or of_this_run):
                raise UserError(
                    f'refused to open {name}: it {error}, and opening more than weights can run any code. '
                    'If you know who made it, add --trust-checkpoint. To continue your own training, resume it in '
                    'its own working directory: --work-dir DIR --resume'
                ) from error
            print_log(f'{name} {error}: opened all the same, as it is trusted.', 'current', level=30)
        if isinstance(file, BytesIO):
            file.seek(0)
        return torch.load(file, map_location=map_location, weights_only=False)


def _without_config(checkpoint: Any) -> Any:
    """Take out the texts that mmengine's Runner and inferencers give to ``Config.fromstring``, which runs them."""
    for path in (*(('meta', name) for name in CONFIG_TEXTS), ('message_hub', 'runtime_info', 'cfg')):
        holder = checkpoint
        for name in path[:-1]:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
    return checkpoint


def _place_of_named(filename: str, scheme: str, name: str) -> str:
    """Path or URL of weights that go by a name."""
    if scheme not in _NAMED:
        raise UserError(f'{filename}: {scheme}:// is not supported; download the file and give its path')
    if scheme in ('openmmlab', 'open-mmlab'):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    place = _NAMED[scheme]().get(name)
    if place is None:
        raise UserError(f'no weights are known as {filename}')
    return place if '://' in place else osp.join(mmengine_checkpoint._get_mmengine_home(), place)


def use_safe_loading(trust: bool = False, run_dir: str | None = None) -> None:
    """Make mmengine read every checkpoint of this process through :class:`SafeLoader`.

    For tools and apis, never at import. Arguments are those of :class:`SafeLoader`.
    """
    loader = SafeLoader(trust, run_dir)
    CheckpointLoader.register_scheme(list(CheckpointLoader._schemes), loader.load, force=True)


@contextmanager
def safe_loading(trust: bool = False) -> Iterator[None]:
    """:func:`use_safe_loading` for a while; afterwards mmengine reads as before."""
    before = CheckpointLoader._schemes
    CheckpointLoader._schemes = before.copy()
    try:
        use_safe_loading(trust)
        yield
    finally:
        CheckpointLoader._schemes = before


def _fetch(url: str) -> str:
    """Download a file into torch's hub cache, if it is not there yet, and return its path.

    Of several processes on a machine only the first downloads.

    Raises:
        UserError: If the file does not arrive whole, or nothing arrives for ``DOWNLOAD_TIMEOUT`` seconds.
    """
    target = cached_place(url)
    problem = 'the download by the first process failed'
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        print_log(f'Downloading {url} to {target}', 'current')
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        try:
            _download(url, target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        finally:
            socket.setdefaulttimeout(before)
    mmengine.dist.barrier()
    if not target.exists():
        raise UserError(
            f'could not reach the weights {url} ({problem}). Either put that file at {target}, or start '
            'without pretrained weights: --cfg-options model.backbone.init_cfg=None (and, where the config sets it, '
            'model.neck.fc_from_vgg=None), which is no use to a backbone that does not learn (frozen_stages)'
        )
    return str(target)


def cached_place(url: str) -> Path:
    """Where torch's hub cache has the file of a URL: under its name, if there is a hash in it that tells it apart.

    Of other names, such as ``epoch_8.pth``, the whole address decides.
    """
    folder, name = Path(torch.hub.get_dir(), 'checkpoints'), Path(urlparse(url).path).name
    if not _hash_in(name):
        folder /= 'by-address-' + hashlib.sha256(url.encode()).hexdigest()[:16]
    return folder / name


def _hash_in(name: str) -> str | None:
    """The first digits of the SHA-256 that a file has in its name, as published weights do."""
    found = re.search(r'[-_]([0-9a-f]{8})\.\w+$', name)
    return found and found[1]


def _download(url: str, target: Path) -> None:
    """Download whole or not at all: the hash in the file's name is checked first, or the length where it has none."""
    in_name = _hash_in(target.name)
    with TemporaryDirectory(dir=target.parent, prefix='.download-') as folder:
        file = Path(folder, target.name)
        try:
            torch.hub.download_url_to_file(url, str(file), in_name, progress=sys.stderr.isatty())
        except RuntimeError as error:
            raise UserError(f'{error}: its name says {in_name}') from error
        if not in_name and file.stat().st_size < (length := _announced_length(url)):
            raise UserError(f'it broke off after {file.stat().st_size} of {length} bytes')
        file.replace(target)


def _announced_length(url: str) -> int:
    """How many bytes the server says the file has; 0 where it does not say."""
    try:
        with urlopen(Request(url, method='HEAD', headers={'User-Agent': 'torch.hub'})) as answer:
            return int(answer.headers.get('Content-Length', 0))
    except HTTPError:
        return 0

"""Checkpoints are data, not code.

A pickle can run anything when it is opened. Here checkpoints are read weights-only: tensors, plain containers
and the few types in which mmengine keeps its log history. The tools and apis call :func:`use_safe_loading`,
which puts these readers in the place of mmengine's for every scheme it knows (mmengine 0.10.7 opens URLs
with full pickle, and onedl-mmengine falls back to full pickle for files).
"""

import hashlib
import http.client
import os
import os.path as osp
import pickle
import pickletools
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import mmengine.dist
import numpy as np
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from .errors import UserError

__all__ = ['BrokenFileError', 'SafeLoader', 'fetch', 'load_weights_only', 'safe_loading', 'use_safe_loading']

#: Seconds without an answer after which a download is given up.
DOWNLOAD_TIMEOUT = 20

_STATISTICS = ('current', 'max', 'mean', 'min')


class BrokenFileError(UserError):
    """A file is damaged or no checkpoint at all, so trust would not open it either."""


def _history_statistic(owner: type, name: str) -> Callable:
    """What ``getattr`` may do in a checkpoint: name one of ``HistoryBuffer``'s own statistics."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(HistoryBuffer, name)


def _safe_globals() -> list:
    """What a checkpoint of mmengine's Runner holds besides what torch allows by itself."""
    scalars = (np.bool_, np.int32, np.int64, np.uint8, np.float16, np.float32, np.float64)
    core = np.ndarray.__reduce__(np.empty(0))[0]  # numpy's _reconstruct, wherever this numpy keeps it
    scalar = np.float64(0).__reduce__()[0]
    return [
        HistoryBuffer,
        (_history_statistic, 'builtins.getattr'),
        (_history_statistic, '__builtin__.getattr'),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(kind)) for kind in scalars),
        *((core, f'numpy.{package}.multiarray._reconstruct') for package in ('core', '_core')),
        *((scalar, f'numpy.{package}.multiarray.scalar') for package in ('core', '_core')),
    ]


def load_weights_only(file: str | BytesIO, map_location: Any = None) -> Any:
    """Read a checkpoint without running anything it holds.

    Args:
        file (str | BytesIO): Path or bytes of a file that ``torch.save`` wrote.
        map_location: As in ``torch.load``.

    Raises:
        UserError: If the file asks for more than weights and mmengine's log history.
        BrokenFileError: If it is cut off or no checkpoint.
    """
    with torch.serialization.safe_globals(_safe_globals()):
        try:
            return torch.load(file, map_location=map_location, weights_only=True)
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
    """The readers behind mmengine's ``CheckpointLoader``, one per scheme.

    Args:
        trust (bool): Whether the user vouches for every checkpoint of this run. Defaults to False.
        run_dir (str, optional): Working directory of the run that is being resumed; files that really lie
            directly in it (symbolic links followed, subfolders left out) are this run's own and trusted.
            Defaults to None.
    """

    def __init__(self, trust: bool = False, run_dir: str | None = None) -> None:
        self.trust = trust
        self.run_dir = None if run_dir is None else osp.realpath(run_dir)

    def _trusts(self, path: str | None) -> bool:
        own = path is not None and self.run_dir is not None
        return self.trust or (own and osp.dirname(osp.realpath(path)) == self.run_dir)

    def _read(self, file: str | BytesIO, name: str, map_location: Any) -> Any:
        try:
            return load_weights_only(file, map_location)
        except BrokenFileError as error:
            where = f' ({file})' if isinstance(file, str) and file != name else ''
            raise UserError(
                f'{name}{where} {error}: it is cut off, damaged or no checkpoint. Delete it and fetch it again'
            ) from error
        except UserError as error:
            path = file if isinstance(file, str) else None
            if not self._trusts(path):
                raise UserError(_refusal(name, str(error))) from error
            print_log(f'{name} {error}: opened all the same, as it is trusted.', 'current', level=30)
        if isinstance(file, BytesIO):
            file.seek(0)
        return torch.load(file, map_location=map_location, weights_only=False)

    def load_from_local(self, filename: str, map_location: Any = None) -> Any:
        """Read a file.

        Raises:
            UserError: If there is no such file, or it is refused.
        """
        path = osp.expanduser(filename)
        if not osp.isfile(path):
            raise UserError(f'there is no checkpoint {filename}')
        return self._read(path, filename, map_location)

    def load_from_http(self, filename: str, map_location: Any = None) -> Any:
        """Read a URL through torch's hub cache.

        Raises:
            UserError: If it cannot be reached, or is refused.
        """
        return self._read(fetch(filename), filename, map_location)

    def load_from_torchvision(self, filename: str, map_location: Any = None) -> Any:
        """Read one of torchvision's weights by name."""
        return self._by_name(filename, mmengine_checkpoint.get_torchvision_models(), map_location)

    def load_from_openmmlab(self, filename: str, map_location: Any = None) -> Any:
        """Read one of OpenMMLab's backbones by name."""
        scheme, name = filename.split('://', 1)
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
        models = mmengine_checkpoint.get_external_models()
        return self._by_name(f'{scheme}://{name}', models, map_location)

    def load_from_mmcls(self, filename: str, map_location: Any = None) -> dict:
        """Read the backbone of one of MMClassification's models by name."""
        checkpoint = self._by_name(filename, mmengine_checkpoint.get_mmcls_models(), map_location)
        weights = checkpoint.get('state_dict', checkpoint)
        prefix = 'backbone.'
        return {'state_dict': {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}}

    def load_from_ceph(self, filename: str, map_location: Any = None) -> Any:
        """Read from s3 through mmengine's petrel backend."""
        backend = get_file_backend(filename, backend_args={'backend': 'petrel'})
        return self._read(BytesIO(backend.get(filename)), filename, map_location)

    def load_from_pavi(self, filename: str, map_location: Any = None) -> Any:
        """Refuse: the service is closed to the public.

        Raises:
            UserError: Always.
        """
        raise UserError(f'{filename}: pavi:// is not supported; download the file and give its path')

    def _by_name(self, filename: str, models: dict[str, str], map_location: Any) -> Any:
        name = filename.split('://', 1)[1]
        if name not in models:
            raise UserError(f'no weights are known as {filename}')
        if models[name].startswith(('http://', 'https://')):
            return self.load_from_http(models[name], map_location)
        return self.load_from_local(
            osp.join(mmengine_checkpoint._get_mmengine_home(), models[name]), map_location
        )


def use_safe_loading(trust: bool = False, run_dir: str | None = None) -> None:
    """Make mmengine read every checkpoint of this process through :class:`SafeLoader`.

    For tools and apis, never at import. Arguments are those of :class:`SafeLoader`.
    """
    loader = SafeLoader(trust, run_dir)
    schemes = {
        ('',): loader.load_from_local,
        ('http://', 'https://'): loader.load_from_http,
        ('modelzoo://', 'torchvision://'): loader.load_from_torchvision,
        ('open-mmlab://', 'openmmlab://'): loader.load_from_openmmlab,
        ('mmcls://',): loader.load_from_mmcls,
        (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): loader.load_from_ceph,
        ('pavi://',): loader.load_from_pavi,
    }
    for prefixes, reader in schemes.items():
        CheckpointLoader.register_scheme(prefixes, reader, force=True)


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


def fetch(url: str) -> str:
    """Download a file into torch's hub cache, if it is not there yet.

    Of several processes on a machine only the first downloads.

    Returns:
        str: Path of the file.

    Raises:
        UserError: If the file does not arrive whole, or nothing arrives for ``DOWNLOAD_TIMEOUT`` seconds.
    """
    target = Path(torch.hub.get_dir(), 'checkpoints', Path(urlparse(url).path).name)
    problem = 'the download by the first process failed'
    if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        print_log(f'Downloading {url} to {target}', 'current')
        try:
            with _socket_timeout(DOWNLOAD_TIMEOUT):
                _download(url, target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
    mmengine.dist.barrier()
    if not target.exists():
        raise UserError(
            f'could not reach the weights {url} ({problem}). Either put that file at {target}, or start '
            'without pretrained weights: --cfg-options model.backbone.init_cfg=None (and, where the config sets it, '
            'model.neck.fc_from_vgg=None)'
        )
    return str(target)


def _download(url: str, target: Path) -> None:
    """Download whole or not at all: length and, where the file name ends in one, hash are checked first."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.download-') as folder:
        file = Path(folder, target.name)
        with urlopen(Request(url, headers={'User-Agent': 'torch.hub'})) as answer, file.open('wb') as out:
            shutil.copyfileobj(answer, out)
            length = answer.headers.get('Content-Length')
        if length is not None and file.stat().st_size != int(length):
            raise UserError(f'it broke off after {file.stat().st_size} of {length} bytes')
        name_hash = re.search(r'[-_]([0-9a-f]{8})\.\w+$', target.name)
        if name_hash:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if not digest.startswith(name_hash[1]):
                raise UserError(f'its sha256 begins with {digest[:8]}, and its name says {name_hash[1]}')
        file.replace(target)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _refusal(name: str, reason: str) -> str:
    return (
        f'refused to open {name}: it {reason}, and opening more than weights can run any code. '
        'If you know who made it, add --trust-checkpoint. To continue your own training, resume it in its own '
        'working directory: --work-dir DIR --resume'
    )

"""Pictures for prediction: found, named, and loaded in batches by processes beside the network."""

import glob
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmlattn.utils.errors import UserError

from .video_frames import VIDEO_EXTENSIONS, Frame, Unreadable, is_video, read_frames

#: What is said of a picture that was loaded, and that a transform could not take.
NOT_PASSED = 'does not pass the test pipeline'
_KINDS = (*IMG_EXTENSIONS, *VIDEO_EXTENSIONS)


def natural_key(path: str | Path) -> tuple:
    """Sorts ``a2.jpg`` before ``a10.jpg``, and keeps together what lies in one folder."""
    return [
        [
            (0, int(part), '') if part.isdecimal() else (1, 0, part)
            for part in re.split(r'(\d+)', name)
            if part
        ]
        for name in Path(path).parts
    ], str(path)


def find_sources(inputs: Iterable[str | Path]) -> list[str]:
    """Every picture and video file that the inputs name, each once, in their order.

    A folder stands for all pictures and videos in it, at any depth, in natural order, hidden ones left out; a
    pattern such as ``'shots/**/*.jpg'`` for the files that fit it; a ``.txt`` for its lines, which are read likewise,
    relative to the working directory or else to the folder of the list. URLs are taken as they are.

    Raises:
        UserError: If an input is not there or holds nothing. What a list names is not looked at: a file that is
            missing there costs itself alone.
    """
    found = [file for item in map(str, inputs) for file in _expand(item)]
    return list(dict.fromkeys(found))


def _expand(item: str, in_list: bool = False) -> list[str]:
    if '://' in item or os.path.isfile(item):
        return _listed(item) if item.lower().endswith('.txt') and not in_list else [item]
    if os.path.isdir(item):
        files = sorted(_files_below(item), key=natural_key)
        if not files:
            raise UserError(f'{item} has no pictures or videos, at any depth; looked for {", ".join(_KINDS)}')
        return files
    if glob.has_magic(item):
        fitting = [file for file in glob.glob(item, recursive=True) if file.lower().endswith(_KINDS)]
        if not fitting and not in_list:
            raise UserError(f'no picture or video fits the pattern {item}')
        return sorted(filter(os.path.isfile, fitting), key=natural_key) or [item]
    if in_list:
        return [item]
    raise UserError(f'{item} is not there: give pictures, videos, folders, patterns or a list, FILE.txt')


def _listed(file: str) -> list[str]:
    """What the lines of a list name."""
    try:
        lines = Path(file).read_text(encoding='utf-8-sig', errors='surrogateescape').splitlines()
    except OSError as error:
        raise UserError(f'cannot read the list {file}: {error.strerror}') from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise UserError(f'the list {file} is empty: write the path of a picture into each line')
    beside = [os.path.join(os.path.dirname(file), line) for line in lines]
    chosen = [
        other if not os.path.exists(line) and os.path.exists(other) else line
        for line, other in zip(lines, beside, strict=True)
    ]
    return [found for line in chosen for found in _expand(line, in_list=True)]


def _files_below(folder: str) -> Iterator[str]:
    """Pictures and videos at any depth; links are followed, but none twice."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith('.')]
        yield from (
            os.path.join(place, name)
            for name in files
            if name.lower().endswith(_KINDS) and not name.startswith('.')
        )


def read_sources(sources: Iterable, fps: float = 1.0) -> Iterator:
    """The pictures themselves: of a video file its frames, anything else as it is."""
    for source in sources:
        if isinstance(source, (str, Path)) and is_video(source) and os.path.isfile(source):
            yield from read_frames(str(source), fps)
        else:
            yield source


def path_of(item: Any) -> str | None:
    """Path or URL of the file that a picture, or the video of a frame, comes from; None for arrays."""
    if isinstance(item, (Frame, Unreadable)):
        return item.path
    return str(item) if isinstance(item, (str, Path)) else None


def place_of(item: Any) -> str | None:
    """The path and, of a frame, its time in seconds, as in ``clip.mp4#t=1.500``."""
    path = path_of(item)
    return f'{path}#t={item.time:.3f}' if isinstance(item, Frame) else path


def name_of(item: Any) -> str | None:
    """The last part of :func:`place_of`."""
    place = place_of(item)
    return None if place is None else place.rstrip('/').rpartition('/')[2]


def chunks_of(items: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` items, the last one shorter."""
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


class Prepared(NamedTuple):
    """What became of the pictures of one chunk."""

    groups: list[tuple[list[int], dict]]
    """Places in the chunk, and the batch of the pictures there, which are of one size."""
    problems: dict[int, str]
    """Why there is none at a place."""


def load_chunks(
    chunks: Iterable[Sequence], prepare: Callable[[Any], dict], workers: int = 0, skip: bool = False
) -> Iterator[tuple[Sequence, Prepared]]:
    """Prepare chunks of pictures, in their order, while those before are computed.

    Args:
        chunks (Iterable[Sequence]): Only read as far ahead as the workers need.
        prepare (Callable): Makes ``inputs`` (C, H, W) and ``data_samples`` of a picture, as ``PictureReader`` does.
        workers (int): Processes that load; 0 loads in this one.
        skip (bool): Whether any error of a picture is a problem of its own. Else only a ``UserError`` is; what is
            wrong with the transforms is raised.
    """
    ahead = deque()

    def noted() -> Iterator[Sequence]:
        for chunk in chunks:
            ahead.append(chunk)
            yield chunk

    loader = DataLoader(
        _Pictures(prepare, skip),
        batch_sampler=noted(),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
    )
    for prepared in loader:
        yield ahead.popleft(), prepared


class _Pictures(Dataset):
    """A data set whose indices are the pictures, so that workers need no list of all of them."""

    def __init__(self, prepare: Callable[[Any], dict], skip: bool) -> None:
        self.prepare, self.skip = prepare, skip

    def __getitem__(self, item: Any) -> dict | str:
        if isinstance(item, Unreadable):
            return f'{item.path}: {item.reason}'
        try:
            return self.prepare(item)
        except UserError as error:
            return str(error)
        except Exception as error:
            if not self.skip:
                raise
            said = ' '.join(str(error).split())[:200]
            return f'{place_of(item) or "an array"} {NOT_PASSED}: {type(error).__name__}: {said}'


def _start_worker(_: int) -> None:
    # One process for each core; OpenCV's own threads would fight for them.
    cv2.setNumThreads(0)


def _collate(found: Sequence[dict | str]) -> Prepared:
    problems = {place: item for place, item in enumerate(found) if isinstance(item, str)}
    by_size = {}
    for place, item in enumerate(found):
        if place not in problems:
            by_size.setdefault(tuple(item['inputs'].shape), []).append(place)
    groups = [(places, default_collate([found[place] for place in places])) for places in by_size.values()]
    return Prepared(groups, problems)

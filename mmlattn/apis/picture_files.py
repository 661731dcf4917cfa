"""Pictures and videos that a user names: found, in natural order, and what results call them."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torchvision.datasets.folder import IMG_EXTENSIONS

from mmlattn.utils.errors import UserError

from .video_frames import VIDEO_EXTENSIONS, Frame, Unreadable, is_video, read_frames

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


def picture_files(paths: Iterable[str | Path]) -> list[str]:
    """The paths, with the pictures of a folder, in natural order of their names, in its place.

    Hidden files, files of other kinds and folders in it are passed over.

    Raises:
        UserError: If a folder has no pictures.
    """
    files = []
    for path in map(str, paths):
        folder = Path(path)
        found = [path]
        if '://' not in path and folder.is_dir():
            inside = sorted(
                (file for file in folder.iterdir() if not file.name.startswith('.')), key=natural_key
            )
            found = [str(f) for f in inside if f.is_file() and f.suffix.lower() in IMG_EXTENSIONS]
            if not found:
                raise UserError(f'{path} has no pictures; looked for {", ".join(IMG_EXTENSIONS)}')
        files += found
    return files


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
    # The first spelling names a file that the inputs say in several ways.
    first: dict[str, str] = {}
    for file in found:
        first.setdefault(_same_file(file), file)
    return list(first.values())


def _same_file(path: str) -> str:
    """What spellings of one path share; ``..`` may lead through links, and is left alone."""
    return path if '://' in path or '..' in path else os.path.abspath(path)


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


def pictures_of(inputs: Any, fps: float = 1.0) -> Iterator:
    """The pictures that one or several inputs stand for: of a folder those in it, of a video its frames.

    Raises:
        UserError: If a folder has no pictures.
    """
    if not isinstance(inputs, (list, tuple, Iterator)) or isinstance(inputs, Frame):
        inputs = [inputs]
    for item in inputs:
        yield from read_sources(picture_files([item]), fps) if isinstance(item, (str, Path)) else [item]


def without_picture(item: Any) -> Any:
    """Where a picture came from, which is all that a result tells of it; None for an array."""
    return item._replace(image=None) if isinstance(item, Frame) else path_of(item)


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

"""Names of drawings, one for each picture, and the folder they go into."""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from .arguments import check_folder
from .errors import UserError

# Most file systems take 255 bytes; '.png' and a number come behind.
_MOST_BYTES = 230


def drawing_names(pictures: Sequence[str | Path | int]) -> list[Path]:
    """Where in a folder the drawing of each picture goes.

    ``a/0.jpg`` and ``b/0.jpg`` become ``a/0.png`` and ``b/0.png``: folders that all pictures share are left out.
    Where pictures differ in their ending alone, it stays, as in ``0.jpg.png``. No name is there twice, in whatever
    case of letters, and none leads out of the folder.

    Args:
        pictures (Sequence[str | Path | int]): Paths and URLs; a number for what has none, such as an array.
    """
    places = [() if isinstance(picture, int) else _parts(os.fspath(picture)) for picture in pictures]
    folders = [place[:-1] for place in places if place] or [()]
    # Of all in order the first and the last differ first.
    levels = zip(min(folders), max(folders), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: level[0] == level[1], levels))
    wholes = [
        place[shared:] if place else (str(picture),) for picture, place in zip(pictures, places, strict=True)
    ]
    stems = [(*whole[:-1], PurePath(whole[-1]).stem) for whole in wholes]
    alike, tried, taken, names = Counter(map(_key, stems)), Counter(), set(), []
    for whole, stem in zip(wholes, stems, strict=True):
        name = first = whole if alike[_key(stem)] > 1 else stem
        while _key(name) in taken:
            tried[_key(first)] += 1
            name = (*first[:-1], f'{first[-1]}_{tried[_key(first)] + 1}')
        taken.add(_key(name))
        names.append(Path(*name[:-1], f'{name[-1]}.png'))
    return names


def check_drawings(names: Sequence[Path], folder: str | Path, flag: str = '--out-dir') -> list[Path]:
    """The files that the drawings are, in a folder which can be made and written, and none of them there yet.

    Raises:
        UserError: With ``flag``, what the user calls the folder.
    """
    check_folder(flag, folder)
    files = [Path(folder, name) for name in names]
    taken = [file for file in files if os.path.lexists(file)]
    if taken:
        more = f' and {len(taken) - 1} more' if len(taken) > 1 else ''
        raise UserError(f'{taken[0]}{more} exists already; choose another {flag}')
    for parent in {file.parent for file in files} - {Path(folder)}:
        check_folder(flag, parent)
    return files


def free_file(file: Path) -> Path:
    """The file itself, or where it exists one with the next free number behind its name."""
    number, candidate = 1, file
    while os.path.lexists(candidate):
        number += 1
        candidate = file.with_name(f'{file.stem}_{number}{file.suffix}')
    return candidate


def _parts(picture: str) -> tuple[str, ...]:
    """Folders and name of a path, or of what a URL names, without any that would lead elsewhere."""
    if '://' in picture:
        url = urlsplit(picture)
        parts = [part for part in (url.netloc, *url.path.split('/')) if part not in ('', '.', '..')]
    else:
        parts = Path(os.path.abspath(picture)).parts[1:]
    return tuple(
        part.encode(errors='backslashreplace')[:_MOST_BYTES].decode(errors='ignore') for part in parts
    )


def _key(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str.casefold, parts))

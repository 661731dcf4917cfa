"""What was probably meant: files and names that differ from a missing one only in what the eye passes over."""

import os
import re
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from mmengine.fileio import LocalBackend, get_file_backend

_ARCHIVES = ('.zip', '.tar', '.tar.gz', '.tgz', '.rar', '.7z')


def same_name(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is a class name but for case, accents, blanks, hyphens and underscores."""
    return next((other for other in names if plain_letters(other) == plain_letters(name)), None)


def similar_name(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that is a class name, or as much as misspelt."""
    names = list(names)
    return same_name(name, names) or next(iter(get_close_matches(name, names, n=1, cutoff=0.8)), None)


def is_local(path: str) -> bool:
    """Whether a path is in the local file system; with a web address anywhere but in front it is, and is wrong."""
    try:
        return isinstance(get_file_backend(path, enable_singleton=True), LocalBackend)
    except (KeyError, ValueError):
        return True


def explain_missing(path: str) -> str | None:
    """What is wrong with the path of a missing file, and what to change; None if nothing like it is there."""
    try:
        return _explain(path) if path and is_local(path) and not Path(path).is_file() else None
    # A name too long, or a folder that may not be read.
    except OSError as error:
        return f'it can not be looked for ({error.strerror}): mend the name'


def _explain(path: str) -> str | None:
    if re.search(r'(^|/)\w+://?\w', path):
        return 'it holds a web address: download the pictures, and write the names of the files'
    if re.search(r'(^|/)(~|\$\w+|\$\{\w+\})', path):
        return 'neither ~ nor variables of the shell are replaced here: write the whole path'
    if Path(path).is_dir():
        return 'it is a folder, expected a file'
    if Path(path).is_symlink():
        return f'it is a link to {os.readlink(path)}, which is not there'
    if '\\' in path:
        slashes = path.replace('\\', '/')
        there = slashes if Path(slashes).is_file() else ''
        return f'{f"there is {there}" if there else "it has backslashes"}: write / in place of each backslash'
    return _spelt_otherwise(path) or _elsewhere(path)


def _spelt_otherwise(path: str) -> str | None:
    """Where the first part of a path that is missing stands under a name much like it."""
    folder, rest = Path(path).parent, [Path(path).name]
    while not folder.is_dir() and folder != folder.parent:
        folder, rest = folder.parent, [folder.name, *rest]
    wanted, is_file = rest[0], len(rest) == 1
    if (folder / wanted).is_file():
        return f'{folder / wanted} is a file, expected a folder'
    there = sorted(os.listdir(folder)) if os.access(folder, os.R_OK | os.X_OK) and folder.is_dir() else []
    for name in there:
        if _plain(name) == _plain(wanted):
            how = 'case, blanks around it or the way accents are written'
            return f'there is {folder / name}, which differs in {how}: write names as the files have them'
        if not is_file and name in {wanted + ending for ending in _ARCHIVES}:
            return f'there is {folder / name}: unpack it'
    for name in there if is_file else ():
        if _plain(Path(name).stem) == _plain(Path(wanted.strip()).stem):
            return f'there is {folder / name}, with another extension: write the name as the file has it'
    return None


def _elsewhere(path: str) -> str | None:
    """Where a file stands one folder higher or deeper than its path says."""
    parts, parent = Path(path).parts, Path(path).parent
    for number in range(len(parts) - 2, -1, -1):
        shorter = Path(*parts[:number], *parts[number + 1 :])
        if shorter.is_file():
            return f'there is {shorter}: leave {parts[number]} out of data_prefix, or out of the names'
    if parent.is_dir():
        for folder in sorted(entry.name for entry in os.scandir(parent) if entry.is_dir()):
            if (parent / folder / parts[-1]).is_file():
                return f'there is {parent / folder / parts[-1]}: add {folder} to data_prefix, or to the names'
    return None


def _plain(name: str) -> str:
    return unicodedata.normalize('NFKC', unquote(name)).casefold().strip()


def plain_letters(name: str) -> str:
    """What two names share that :func:`same_name` takes for the same."""
    return re.sub(r'[\s_\u200b\u2060\ufeff\u00ad-]', '', _plain(name))


def told_apart(name: str, other: str) -> tuple[str, str]:
    """Both names as texts in which the difference is seen."""
    told = repr(name), repr(other)
    alike = unicodedata.normalize('NFC', told[0]) == unicodedata.normalize('NFC', told[1])
    return (ascii(name), ascii(other)) if alike else told

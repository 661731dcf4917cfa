"""What every annotation file must pass before training starts, and the words that say what to mend."""

import json
import os
import reprlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mmengine.fileio import LocalBackend, get_file_backend, get_text

from mmlattn.utils.errors import UserError

__all__ = [
    'check_classes', 'check_images', 'check_same_classes', 'is_number', 'is_whole', 'keep_labelled', 'load_json',
    'missing_images', 'missing_key', 'refuse',
]  # fmt: skip


_JSON_NAMES = {list: 'a list', dict: 'an object'}


def refuse(ann_file: str, entry: str, problem: str) -> NoReturn:
    """Refuse an entry of an annotation file.

    Raises:
        UserError: Naming the file, the entry and the problem.
    """
    raise UserError(f'{ann_file}: {entry}: {problem}')


def keep_labelled(
    items: Sequence[dict], filter_empty: bool, ann_file: str, settings: str, instead: str
) -> list[dict]:
    """The items with a label, all of them unless ``filter_empty``.

    Args:
        items (Sequence[dict]): With ``gt_label``.
        filter_empty (bool): Whether to leave out those without a label.
        ann_file (str): What the message names.
        settings (str): What else decides which labels there are, for the message.
        instead (str): What to take if the settings are right.

    Raises:
        UserError: If none is left.
    """
    kept = [item for item in items if item['gt_label'] or not filter_empty]
    if not kept:
        raise UserError(
            f'{ann_file}: none of its {len(items)} images is left with {settings} and filter_empty={filter_empty}: '
            f'change these, or take another {instead}'
        )
    return kept


def missing_key(entry: Any, keys: Sequence[str]) -> str | None:
    """What is wrong with an entry that should be an object with ``keys``, or None."""
    if not isinstance(entry, dict):
        return f'must be an object, got {entry!r}'
    missing = [key for key in keys if key not in entry]
    return f'{", ".join(missing)} is missing' if missing else None


def is_whole(value: Any) -> bool:
    """Whether a json value is a whole number; neither true nor 3.0 is one."""
    return type(value) is int


def is_number(value: Any) -> bool:
    """Whether a json value is a number that fits in a float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def load_json(ann_file: str, sections: Mapping[str, type]) -> dict:
    """Read a json object that has all ``sections``, each a ``list`` or a ``dict``.

    Raises:
        UserError: If the file is missing, is no json in UTF-8, or lacks a section.
    """
    try:
        content = json.loads(get_text(ann_file, encoding='utf-8-sig'))  # with or without a byte order mark
    except FileNotFoundError as error:
        raise UserError(f'{ann_file}: no such file: set data_root and ann_file of the data set') from error
    except json.JSONDecodeError as error:
        raise UserError(
            f'{ann_file}: line {error.lineno}, column {error.colno}: not valid json ({error.msg}): the file is '
            'damaged or only partly downloaded'
        ) from error
    except ValueError as error:  # other bytes than UTF-8, or a number of more digits than Python reads
        raise UserError(f'{ann_file}: not json in UTF-8 ({error}): save it as UTF-8') from error
    if not isinstance(content, dict) or not content.keys() >= sections.keys():
        found = sorted(content) if isinstance(content, dict) else f'a {type(content).__name__}'
        raise UserError(f'{ann_file}: expected an object with {", ".join(sections)}, found {found}')
    for name, kind in sections.items():
        if not isinstance(content[name], kind):
            refuse(ann_file, name, f'must be {_JSON_NAMES[kind]}, got {reprlib.repr(content[name])}')
    return content


def check_classes(classes: Sequence[str], known: Sequence[str] | None, ann_file: str) -> tuple[str, ...]:
    """See that class names are a list of strings, unique, and among those of the annotation file.

    Raises:
        UserError: Naming the classes that are not.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise UserError(f'{ann_file}: classes must be a list of names, got {classes!r}')
    names = tuple(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        raise UserError(f'{ann_file}: class names must be strings, at least one, got {wrong or names}')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f'{ann_file}: classes named twice: {", ".join(twice)}')
    unknown = [] if known is None else sorted(set(names) - set(known))
    if unknown:
        raise UserError(
            f'{ann_file}: no category is called {", ".join(unknown)}: metainfo.classes (or classes) may name '
            f'{", ".join(sorted(known))}'
        )
    return names


def check_same_classes(
    written: tuple[str, ...], given: Sequence[str] | None, ann_file: str, entry: str
) -> None:
    """See that classes named in the config, if any, are those of the annotation file.

    Raises:
        UserError: If they are not.
    """
    if given is not None and check_classes(given, None, ann_file) != written:
        refuse(
            ann_file,
            entry,
            f'its classes are {reprlib.repr(written)} but metainfo.classes of the data set are '
            f'{reprlib.repr(tuple(given))}: labels are indices and are not reordered, so leave metainfo.classes out '
            'or make the two agree',
        )


def check_images(paths: Iterable[str], ann_file: str) -> None:
    """See that every image file exists.

    Raises:
        UserError: With the number of missing files, and the first of them.
    """
    paths = list(paths)
    missing = missing_images(paths)
    if missing:
        raise UserError(
            f'{ann_file}: {len(missing)} of {len(paths)} images are missing, first {missing[0]}: set data_root and '
            'data_prefix of the data set to the folder with the pictures, or finish the download'
        )


def missing_images(paths: Iterable[str]) -> list[str]:
    """The image files that do not exist, with one directory listing for each folder instead of a stat for each file.

    Images that don't lie in the local file system are not looked for.
    """
    folders = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        folders[folder].append((name, path))
    missing = []
    for folder, files in folders.items():
        if folder and not isinstance(get_file_backend(folder, enable_singleton=True), LocalBackend):
            continue
        there = {entry.name for entry in os.scandir(folder or '.')} if Path(folder).is_dir() else set()
        missing += [path for name, path in files if name not in there]
    return missing

"""Reading annotation files: what each must pass before training starts.

Whatever is wrong is a ``UserError`` that names the file, the entry and what to mend.
"""

import gc
import json
import logging
import os
import reprlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from mmengine.fileio import get
from mmengine.logging import print_log

from mmlattn.utils.errors import UserError

from .lookalikes import explain_missing, is_local, similar_name


def refuse(ann_file: str, entry: str, problem: str) -> NoReturn:
    """Refuse an entry of an annotation file."""
    raise UserError(f'{ann_file}: {entry}: {problem}')


def warn(ann_file: str, problem: str) -> None:
    """Log what is odd in an annotation file, but may be meant."""
    print_log(f'{ann_file}: {problem}', 'current', logging.WARNING)


def tell(ann_file: str, note: str) -> None:
    """Log how an annotation file was read."""
    print_log(f'{ann_file}: {note}', 'current')


def some(names: Collection[object], most: int = 10) -> str:
    """The names, or the first of many, with commas."""
    more = f', ... ({len(names)} in all)' if len(names) > most else ''
    return ', '.join(map(str, list(names)[:most])) + more


def read_bytes(path: str, mend: str) -> bytes:
    """The content of a file; ``mend`` says what to do where there is no such file, nor one much like it."""
    try:
        return get(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f'{path or repr(path)}: no such file: {explain_missing(path) or mend}') from error
    except OSError as error:
        reason = explain_missing(path) or error.strerror or error
        raise UserError(f'{path}: can not be read: {reason}') from error


def read_text(path: str, mend: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; ``mend`` as for :func:`read_bytes`."""
    content = read_bytes(path, mend)
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path}: {not_utf8(content, error)}: save it as UTF-8, or unpack it again'
        ) from error


def not_utf8(content: bytes, error: UnicodeDecodeError) -> str:
    """Where a file stops being UTF-8."""
    if content.startswith((b'\xff\xfe', b'\xfe\xff')):
        return 'not text in UTF-8 but in UTF-16'
    line = content.count(b'\n', 0, error.start) + 1
    return f'not text in UTF-8, line {line} ({error})'


def numbered_lines(path: str, text: str, skip_blank: bool = False) -> dict[str, int]:
    """The lines of a list, none blank and none twice, without spaces around; with their numbers, counted from 1."""
    numbers: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, text.rstrip().splitlines()), start=1):
        if not line and skip_blank:
            continue
        if not line:
            refuse(path, f'line {number}', 'is blank, expected a picture: unpack it again')
        if line in numbers:
            refuse(path, f'line {number}', f'{line} is already in line {numbers[line]}: unpack it again')
        numbers[line] = number
    return numbers


def read_class_list(
    path: str, mend: str = 'write the path of a list of class names, one a line'
) -> tuple[str, ...]:
    """Class names, one a line; blank lines and blanks around a name do not count."""
    lines = map(str.strip, read_text(path, mend).splitlines())
    return check_classes([line for line in lines if line], path)


def load_json(ann_file: str, sections: Mapping[str, type]) -> dict:
    """Read a json object that has all ``sections``, each a ``list`` or a ``dict``."""
    return check_sections(ann_file, read_json(ann_file), sections)


def read_json(ann_file: str) -> Any:
    """Read a json file."""
    content = read_bytes(ann_file, 'set data_root and ann_file of the data set')
    try:
        with no_collection():
            return json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(
            f'{ann_file}: line {error.lineno}, column {error.colno}: not valid json ({error.msg}): '
            + _why_no_json(content, error)
        ) from error
    except RecursionError as error:
        raise UserError(f'{ann_file}: lists or objects are nested too deep: the file is damaged') from error
    except ValueError as error:  # other bytes than UTF-8, or a number of more digits than Python reads
        packed = content.startswith(b'\x1f\x8b')
        mend = 'it is compressed: unpack it with gunzip' if packed else 'save it as UTF-8'
        raise UserError(f'{ann_file}: not json in UTF-8 ({error}): {mend}') from error


@contextmanager
def no_collection() -> Iterator[None]:
    """Without Python's search for circles of garbage: in a million new objects are none, and it takes as long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def check_sections(ann_file: str, content: Any, sections: Mapping[str, type]) -> dict:
    """See that the content of a json is an object that has all ``sections``."""
    if not isinstance(content, dict) or not content.keys() >= sections.keys():
        found = sorted(content) if isinstance(content, dict) else f'a {type(content).__name__}'
        raise UserError(f'{ann_file}: expected an object with {", ".join(sections)}, found {found}')
    for name, kind in sections.items():
        if not isinstance(content[name], kind):
            wanted = 'a list' if kind is list else 'an object'
            refuse(ann_file, name, f'must be {wanted}, got {reprlib.repr(content[name])}')
    return content


def _why_no_json(content: bytes, error: json.JSONDecodeError) -> str:
    if not content.strip():
        return 'the file is empty: write or download it again'
    if error.msg == 'Extra data':
        return 'more follows where the file should end: it must hold one object, not one a line'
    if error.pos == 0:
        return 'the file is in another format: write its content as json'
    return 'the file is damaged or only partly downloaded'


def is_whole(value: Any) -> bool:
    """Whether a json value is a whole number; neither true nor 3.0 is one."""
    return type(value) is int


def is_number(value: Any) -> bool:
    """Whether a json value is a number that fits in a float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def json_name(value: Any, key: str, reject: Callable[[str], NoReturn]) -> str | None:
    """The text of a json value that names something, as a group; a whole number is one, and blank is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str) and not is_whole(value):
        reject(f'{key} must be a text or a whole number, got {value!r:.80}')
    return str(value).strip()


def json_entries(
    ann_file: str, section: str, entries: Sequence, keys: Sequence[str]
) -> Iterator[tuple[dict, Callable[[str], NoReturn]]]:
    """The entries of a section of a json, objects with all ``keys``, each with what refuses it for a problem."""
    for number, entry in enumerate(entries):
        reject = partial(refuse, ann_file, f'{section}[{number}]')
        if not isinstance(entry, dict):
            reject(f'must be an object, got {entry!r}')
        missing = [key for key in keys if key not in entry]
        if missing:
            reject(f'{", ".join(missing)} is missing')
        yield entry, reject


def check_classes(
    classes: Sequence[str], ann_file: str, known: Iterable[str] | None = None
) -> tuple[str, ...]:
    """See that class names are a list of different strings, and all of them ``known`` unless that is None.

    Blanks around a name do not count.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        file = ', and there is no such file' if isinstance(classes, str) else ''
        raise UserError(f'{ann_file}: classes must be a list of names, got {classes!r}{file}')
    wrong = [name for name in classes if not isinstance(name, str)]
    if wrong or not classes:
        raise UserError(
            f'{ann_file}: class names must be strings, at least one, got {wrong or tuple(classes)}'
        )
    names = tuple(map(str.strip, classes))
    if '' in names:
        raise UserError(f'{ann_file}: class {names.index("")} (counted from 0) has a blank name')
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UserError(f'{ann_file}: classes named twice: {", ".join(twice)}')
    unknown = [] if known is None else sorted(set(names) - set(known))
    if unknown:
        meant = similar_name(unknown[0], known)
        raise UserError(
            f'{ann_file}: no category is called {", ".join(unknown)}: {f"did you mean {meant}? " if meant else ""}'
            f'metainfo.classes (or classes) may name {", ".join(sorted(known))}'
        )
    return names


def set_classes(metainfo: dict, classes: tuple[str, ...], ann_file: str, entry: str) -> None:
    """Put the classes of an annotation file into the metainfo, which may name the same already and no others."""
    in_config = metainfo.get('classes')
    if in_config is not None and check_classes(in_config, ann_file) != classes:
        refuse(
            ann_file,
            entry,
            f'its classes are {reprlib.repr(classes)} but metainfo.classes of the data set are '
            f'{reprlib.repr(tuple(in_config))}: labels are indices and are not reordered, so leave metainfo.classes '
            'out or make the two agree',
        )
    metainfo['classes'] = classes


def check_images(items: Sequence[dict], ann_file: str) -> None:
    """See that every image file exists; names the number of missing ones and the first of them."""
    missing = missing_images(item['img_path'] for item in items)
    if missing:
        raise UserError(
            f'{ann_file}: {len(missing)} of {len(items)} images are missing, first {missing[0]}: '
            f'{why_missing(missing)}'
        )


_FIND_PICTURES = (
    'set data_root and data_prefix of the data set to the folder with the pictures, or finish the download'
)


def why_missing(paths: Sequence[str], mend: str = _FIND_PICTURES) -> str:
    """What is wrong with the first missing pictures, or else ``mend``."""
    for path in paths[:20]:
        reason = explain_missing(path)
        if reason:
            return reason if path == paths[0] else f'for {path} {reason}'
    folder = os.path.dirname(paths[0])
    return mend if os.path.isdir(folder or '.') else f'there is no folder {folder}: {mend}'


def missing_images(paths: Iterable[str]) -> list[str]:
    """The image files that do not exist; those outside the local file system are not looked for."""
    # One directory listing for each folder is much faster than a stat for each file.
    folders = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        folders[folder].append((name, path))
    missing = []
    for folder, files in folders.items():
        if folder and not is_local(folder):
            continue
        there = set()
        if Path(folder).is_dir():
            try:
                # Asking what an entry is costs nothing unless it is a link, which may lead nowhere.
                there = {entry.name for entry in os.scandir(folder or '.') if entry.is_file()}
            except PermissionError as error:
                raise UserError(f'{folder}: can not be listed: {error.strerror}') from error
        missing += [path for name, path in files if name not in there]
    return missing


def keep_labelled(items: list[dict], filter_empty: bool, ann_file: str, settings: str) -> list[dict]:
    """The items that have a ``gt_label``, or all unless ``filter_empty``; ``settings`` are what else decides that."""
    kept = [item for item in items if item['gt_label'] or not filter_empty]
    if not kept:
        raise UserError(
            f'{ann_file}: none of its {len(items)} images is left with {settings} and filter_empty={filter_empty}: '
            'change these, or take another file'
        )
    return kept


def check_labels(items: Sequence[dict], classes: Sequence[str], ann_file: str, training: bool) -> None:
    """See that there is any label to learn from in training, and log which classes have none."""
    labels = [np.atleast_1d(item['gt_label']) for item in items]
    counts = np.bincount(np.concatenate(labels).astype(int), minlength=len(classes))
    check_counts(counts, len(items), classes, ann_file, training)


def check_counts(
    counts: np.ndarray, pictures: int, classes: Sequence[str], ann_file: str, training: bool
) -> None:
    """As :func:`check_labels`, of how often each class is a label of the pictures."""
    if training and not counts.any():
        raise UserError(
            f'{ann_file}: none of its {pictures} images has a label of the classes {some(classes)}, so there is '
            'nothing to learn: set metainfo.classes to the names in use (or test_mode=True if this is no training)'
        )
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        warn(ann_file, f'{len(absent)} of the {len(classes)} classes never occur as a label: {some(absent)}')


def relative_boxes(xyxy: Sequence, width: float | np.ndarray, height: float | np.ndarray) -> np.ndarray:
    """Boxes in pixels as (K, 4) float32 in [0, 1] of a picture, or of K of them; what lies outside is cut off."""
    pixels = np.array(xyxy, float).reshape(-1, 4)
    return np.clip(pixels / np.array([width, height, width, height]).T, 0, 1).astype(np.float32)

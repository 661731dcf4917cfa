"""Lists, a picture and its labels in each line: ``path cat dog``, ``path,cat``, ``path 0 1 0``, ``path 3 17``."""

import re
from collections.abc import Sequence

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import refuse
from ..picture_names import PICTURE_EXTENSIONS
from .assembly import LONGEST, Draft
from .boxed import only_present
from .records import PRESENT, LabelTable
from .table_rows import read_text_bytes
from .tables import has_strong_mark, split_all

_ENDINGS = '|'.join(re.escape(ending) for ending in PICTURE_EXTENSIONS)
_LINE = re.compile(rf'("[^"]+"|.+?(?:{_ENDINGS}))(?=$|[\s,;|])(.*)', re.IGNORECASE)
_MARKS = ',;|\t'
_ONES = {'0': 0, '1': 1, '-1': -1}


def read_text_list(path: str, classes: Sequence[str] | None = None, separator: str | None = None) -> Draft:
    """Read a list; a path may hold blanks if it ends as pictures do.

    Args:
        path (str): The file.
        classes (Sequence[str], optional): The classes, where they are known. Without them numbers have no names.
        separator (str, optional): Between two labels; ``' '`` is any number of blanks. Defaults to what follows the
            paths, or else the first of ``, ; |`` and tab among the labels.
    """
    lines = [
        (number, line.strip())
        for number, line in enumerate(read_text_bytes(path).decode().split('\n'), start=1)
        if line.strip()
    ]
    images, cells, marks = [], [], []
    for number, line in lines:
        if len(line) > LONGEST:
            refuse(path, f'line {number}', f'has {len(line)} characters: the file is damaged, or no list')
        image, rest = _split_path(line)
        if len(image) > 2 and image[0] == image[-1] == '"':
            image = image[1:-1]
        images.append(image)
        marks.append(rest[:1] if rest[:1] in _MARKS else ' ' if rest else '')
        cells.append(rest[1:].strip() if marks[-1] in _MARKS and marks[-1] else rest.strip())
    numbers = [number for number, _ in lines]
    first, *others = [image.lower().endswith(PICTURE_EXTENSIONS) for image in images] or [True]
    if others and all(others) and not first:
        refuse(
            path, f'line {numbers[0]}', f'{lines[0][1][:80]!r} names no picture, all others do: take it out'
        )
    separator = separator or _separator(path, numbers, cells, marks, classes)
    labels = [split_all(cell, separator) for cell in cells]
    where = _where(numbers)
    known = set(classes or ())
    words = {label for listed in labels for label in listed}
    if words and words <= _ONES.keys() and not words <= known:
        draft = _onehot(path, images, numbers, labels, classes)
        if draft is not None:
            return draft
    for number, listed in zip(numbers, labels, strict=True):
        twice = next((label for place, label in enumerate(listed) if label in listed[:place]), None)
        if twice is not None:
            mend = 'name each label once; lines of ones and zeros must all have one for each class'
            refuse(path, f'line {number}', f'has the label {twice} twice: {mend}')
    named = [dict.fromkeys(listed, PRESENT) for listed in labels]
    return Draft.of_lists(path, 'txt', images, named, where=where)


def _where(numbers: list[int]):
    return lambda entry: f'line {numbers[entry]}'


def _split_path(line: str) -> tuple[str, str]:
    """The path in a line, and what follows it, from the mark between on."""
    found = _LINE.fullmatch(line)
    if found:
        return found[1], found[2]
    at = next((line.index(mark) for mark in '\t,;| ' if mark in line), len(line))
    return line[:at], line[at:]


def _separator(
    path: str, numbers: list[int], cells: list[str], marks: list[str], classes: Sequence[str] | None
) -> str:
    used = [mark for mark in marks if mark]
    if not used:
        return ' '
    odd = next((place for place, mark in enumerate(marks) if mark and mark != used[0]), None)
    if odd is not None:
        refuse(
            path,
            f'line {numbers[odd]}',
            f'has {marks[odd]!r} behind the path, lines before it {used[0]!r}: write one of the two throughout',
        )
    if used[0] != ' ':
        return used[0]
    blanks = any(' ' in cell for cell in set(classes or ()).intersection(cells))
    if blanks or (classes and set(cells) - {''} <= set(classes)):
        return '\n'  # in no cell
    return next((mark for mark in _MARKS if any(mark in cell for cell in cells)), ' ')


def _onehot(
    path: str,
    images: list[str],
    numbers: list[int],
    labels: list[list[str]],
    classes: Sequence[str] | None,
) -> Draft | None:
    """A draft of lines of ones and zeros, or None where they look like indices of classes."""
    lengths = list(map(len, labels))
    wanted = len(classes) if classes else max(set(lengths), key=lengths.count)
    if wanted < 2 or wanted not in lengths:
        return None
    odd = next((place for place, length in enumerate(lengths) if length != wanted), None)
    if odd is not None:
        if all(len(set(listed)) == len(listed) for listed in labels):
            return None
        refuse(
            path,
            f'line {numbers[odd]}',
            f'has {lengths[odd]} numbers, others {wanted}: write one for each class',
        )
    if not classes:
        raise UserError(
            f'{path}: has {wanted} ones and zeros in each line, but names no classes: set metainfo.classes to '
            f'{wanted} names, in the order of the columns'
        )
    values = np.array([[_ONES[label] for label in listed] for listed in labels], np.int8)
    rows, codes = np.nonzero(values)
    return Draft(
        path,
        'txt',
        images,
        rows,
        codes,
        values[rows, codes],
        list(classes),
        _where(numbers),
        declared=classes,
        names_all=True,
    )


def write_text_list(table: LabelTable, path: str) -> None:
    """Write a list, with blanks between labels, or with commas where names hold blanks."""
    only_present(table, path, 'txt')
    blank = any(re.search(r'\s', name) for name in table.classes)
    separator = ',' if blank else ' '
    for name in table.classes:
        if has_strong_mark(name) or re.fullmatch(r'-?[\d.]+', name):
            raise UserError(f'{path}: a list can not hold the class name {name!r}: write csv-onehot or jsonl')
    for record in table.records:
        if _split_path(f'{record.image}{separator}x') != (record.image, f'{separator}x'):
            raise UserError(
                f'{path}: a list can not hold the path {record.image!r}, whose end would not be found: write '
                'csv-onehot or jsonl'
            )
    with open(path, 'x', encoding='utf-8') as file:
        for record in table.records:
            file.write(separator.join([record.image, *record.present]) + '\n')

"""Json lines, an object for each picture: ``{"image": "a.jpg", "labels": ["cat"], "unknown": ["dog"]}``.

``labels`` lists the present classes, or says 1, 0 or -1 of each by name; ``unknown`` and ``absent`` list others.
"""

import json
from collections.abc import Sequence

from mmlattn.utils.json_files import to_json

from ..annotation_files import refuse
from .assembly import Draft, split_and_group
from .records import ABSENT, PRESENT, UNKNOWN, LabelTable
from .table_rows import read_text_bytes
from .tables import has_strong_mark

_IMAGE = ('image', 'img_path', 'image_path', 'file_name', 'filename', 'path', 'img', 'file')
_LABELS = ('labels', 'label', 'gt_label', 'classes', 'tags', 'categories', 'class', 'category')
_LISTS = {'unknown': UNKNOWN, 'gt_label_ignore': UNKNOWN, 'absent': ABSENT}


def read_json_lines(path: str, classes: Sequence[str] | None = None) -> Draft:
    """Read the lines; whole numbers are indices of the classes, where these are known."""
    entries, images, labels, numbers = [], [], [], []
    for number, line in enumerate(read_text_bytes(path).decode().split('\n'), start=1):
        if not line.strip():
            continue
        where = f'line {number}'
        entry = _read_line(path, where, line)
        images.append(_one_of(path, where, entry, _IMAGE))
        if not isinstance(images[-1], str):
            refuse(path, where, f'the picture must be a path, got {images[-1]!r:.80}')
        labels.append(_labels(path, where, entry))
        numbers.append(number)
        entries.append(entry)
    line_of = lambda entry: f'line {numbers[entry]}'  # noqa: E731
    return Draft.of_lists(
        path,
        'jsonl',
        images,
        labels,
        where=line_of,
        closed=not any(ABSENT in said.values() for said in labels),
        **split_and_group(path, entries, line_of),
    )


def _read_line(path: str, where: str, line: str) -> dict:
    try:
        entry = json.loads(line)
    except RecursionError:
        refuse(path, where, 'lists or objects are nested too deep: the file is damaged')
    except json.JSONDecodeError as error:
        mend = 'write one whole object in each line'
        refuse(path, where, f'column {error.colno}: not valid json ({error.msg}): {mend}')
    except ValueError as error:  # a number of more digits than Python reads
        refuse(path, where, f'not valid json ({error}): mend the number')
    if not isinstance(entry, dict):
        refuse(path, where, f'must be an object with image and labels, got {entry!r:.80}')
    return entry


def _one_of(path: str, where: str, entry: dict, keys: Sequence[str]) -> object:
    found = [key for key in keys if key in entry]
    if len(found) != 1:
        there = (
            f'has {" and ".join(found)}' if found else f'has {", ".join(list(entry)[:10]) or "nothing"} alone'
        )
        refuse(path, where, f'{there}: expected one of {", ".join(keys)}')
    return entry[found[0]]


def _labels(path: str, where: str, entry: dict) -> dict[str, int]:
    """The value of each class that an entry names."""
    written = _one_of(path, where, entry, _LABELS)
    if isinstance(written, dict):
        said = {name: _value(path, where, name, value) for name, value in written.items()}
    else:
        said = dict.fromkeys(_names(path, where, 'labels', written), PRESENT)
    for key, value in _LISTS.items():
        for name in _names(path, where, key, entry.get(key, [])):
            if said.setdefault(name, value) != value:
                refuse(path, where, f'{name} is both in {key} and elsewhere: keep one of the two')
    return said


def _value(path: str, where: str, name: str, value: object) -> int:
    if value is None:
        return UNKNOWN
    if not isinstance(value, int | float) or value not in (PRESENT, ABSENT, UNKNOWN):
        refuse(
            path, where, f'{name} must be 1 (present), 0 (absent), -1 or null (unknown), got {value!r:.80}'
        )
    return int(value)


def _names(path: str, where: str, key: str, listed: object) -> list[str]:
    if isinstance(listed, str):
        if has_strong_mark(listed):
            refuse(
                path, where, f'{key} is the text {listed[:80]!r}: write a list of names, [...], maybe of one'
            )
        listed = [listed]
    if not isinstance(listed, list) or {type(name) for name in listed} not in (set(), {str}, {int}):
        mend = 'write a list of names, or of indices of the classes'
        refuse(path, where, f'{key} must be a list of names, got {listed!r:.80}: {mend}')
    names = [str(name) for name in listed]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        refuse(path, where, f'{key} has {twice} twice: name each label once, not ones and zeros')
    return names


def write_json_lines(table: LabelTable, path: str) -> None:
    """Write a line for each picture."""
    with open(path, 'x', encoding='utf-8') as file:
        for record in table.records:
            listed = {PRESENT: [], ABSENT: [], UNKNOWN: []}
            for name, value in record.labels.items():
                listed[value].append(name)
            entry = dict(image=record.image, labels=listed[PRESENT])
            if table.closed and listed[UNKNOWN]:
                entry['unknown'] = listed[UNKNOWN]
            if not table.closed:
                entry['absent'] = listed[ABSENT]
            file.write(to_json(entry | record.parts, ensure_ascii=False) + '\n')

"""What a reader found becomes a table: pictures named once, class names resolved, labels without contradiction.

E is the number of entries of a file (its lines, objects ...), M that of labels said in it.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import check_classes, json_name, refuse, some
from ..lookalikes import plain_letters, similar_name, told_apart
from .records import PRESENT, UNKNOWN, LabelBoxes, LabelColumns, LabelTable

# A name or path longer than this is no name: a quote was not closed, or the file holds something else.
LONGEST = 10_000


@dataclass
class Draft:
    """What stands in a file, entry by entry.

    Args:
        path (str): The file or folder.
        format (str): One of ``FORMATS``.
        images (list[str]): E paths.
        rows (np.ndarray): Shape (M,), ascending, which entry says a label.
        codes (np.ndarray): Shape (M,), which of ``names``.
        values (np.ndarray): Shape (M,), 1, 0 or -1.
        names (list[str]): Different names of classes, as they are written.
        where (Callable[[int], str]): Line or entry i, for messages.
        declared (Sequence[str], optional): The classes, where the file says by itself which there are.
        repeats (bool): Whether a picture may have several entries, which add up.
        present_wins (bool): Whether a class that is both present and unknown is present; else that is an error.
        closed (bool): What the format means by a class that is not named, see :class:`LabelTable`.
        names_all (bool): Whether every entry says something of every class; zeros may then be left out.
        splits (list, optional): E values.
        groups (list, optional): Likewise.
        sizes (np.ndarray, optional): Shape (E, 2).
        boxes (LabelBoxes, optional): By entry, and by code in place of class.
        notes (list[str]): What was taken for what, for the log.
    """

    path: str
    format: str
    images: list[str]
    rows: np.ndarray
    codes: np.ndarray
    values: np.ndarray
    names: list[str]
    where: Callable[[int], str]
    declared: Sequence[str] | None = None
    repeats: bool = False
    present_wins: bool = False
    closed: bool = True
    names_all: bool = False
    splits: list | None = None
    groups: list | None = None
    sizes: np.ndarray | None = None
    boxes: LabelBoxes | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_lists(cls, path: str, format: str, images: list[str], labels: list[dict], **fields) -> 'Draft':
        """A draft of (name, value) labels of each entry."""
        index: dict[str, int] = {}
        said = [
            [(index.setdefault(name, len(index)), value) for name, value in one.items()] for one in labels
        ]
        flat = np.array([pair for one in said for pair in one], np.int64).reshape(-1, 2)
        rows = np.repeat(np.arange(len(images)), list(map(len, said))) if said else np.zeros(0, np.int64)
        return cls(path, format, images, rows, flat[:, 0], flat[:, 1], list(index), **fields)


def split_and_group(path: str, entries: Sequence[dict], where: Callable[[int], str]) -> dict:
    """``splits`` and ``groups`` of a draft, as E objects of a json say them; None where none says any."""
    found = {}
    for key in ('split', 'group'):
        values = [
            json_name(entry.get(key), key, partial(refuse, path, where(number)))
            for number, entry in enumerate(entries)
        ]
        found[f'{key}s'] = values if any(values) else None
    return found


def assemble(
    draft: Draft,
    classes: Sequence[str] | None = None,
    unlisted: str | None = None,
    other_classes: str = 'refuse',
) -> LabelTable:
    """The table of a draft.

    Args:
        draft (Draft): What a reader found.
        classes (Sequence[str], optional): The classes to read, in order. Defaults to those that the file declares, or
            else to all names in it, sorted.
        unlisted (str, optional): ``'absent'`` or ``'unknown'``: what a class not named for a picture means. Defaults
            to what the format means by it.
        other_classes (str): ``'refuse'`` or ``'leave_out'`` labels of other names than ``classes``. Where the file
            declares its classes, ``classes`` always selects some.

    Raises:
        UserError: Naming file, entry and what to mend.
    """
    if not draft.images:
        raise UserError(f'{draft.path}: names no picture: write or export it again')
    _check_texts(draft)
    notes = list(draft.notes)
    columns, names = _class_columns(draft, classes, other_classes, notes)
    first, picture = _pictures(draft, notes)
    rows, columns_of, values = _labels(draft, columns, len(names), first, picture)
    boxes = draft.boxes
    if boxes is not None:
        kept = (columns[boxes.columns] >= 0) & (draft.repeats | (first[picture[boxes.rows]] == boxes.rows))
        places = picture[boxes.rows[kept]]
        order = np.argsort(places, kind='stable')
        boxes = LabelBoxes(places[order], columns[boxes.columns[kept]][order], boxes.corners[kept][order])
    where, pick = draft.where, first.tolist()
    if len(pick) == len(draft.images):
        images, splits, groups = draft.images, draft.splits, draft.groups
    else:
        images, splits, groups = (
            None if column is None else [column[entry] for entry in pick]
            for column in (draft.images, draft.splits, draft.groups)
        )
    records = LabelColumns(
        images,
        names,
        rows,
        columns_of,
        values.astype(np.int8),
        lambda number: where(pick[number]),
        splits,
        groups,
        None if draft.sizes is None else draft.sizes[first],
        boxes,
    )
    closed = draft.closed if unlisted is None or draft.names_all else unlisted == 'absent'
    return LabelTable(records, names, draft.format, closed, tuple(notes))


def _check_texts(draft: Draft) -> None:
    """See that paths and names can be read and printed; blanks around them do not count."""
    for number, image in _odd(draft.images):
        problem = _text_problem(image)
        if problem:
            refuse(draft.path, draft.where(number), f'the path of its picture {problem}')
    for code, name in _odd(draft.names):
        problem = _text_problem(name)
        if problem:
            refuse(draft.path, _first_use(draft, code), f'the name of a class {problem}')
    draft.images = [image.strip() for image in draft.images]
    draft.names = [name.strip() for name in draft.names]


def _odd(texts: list[str]):
    """The texts that may have a problem, with their indices: all of them, unless none has."""
    joined = '\n'.join(texts)
    try:
        joined.encode()
        sound = joined.count('\n') == max(len(texts) - 1, 0) and not any(mark in joined for mark in '\0\r')
        sound = sound and all(map(str.strip, texts)) and max(map(len, texts), default=0) <= LONGEST
    except UnicodeEncodeError:
        sound = False
    return () if sound else enumerate(texts)


def _text_problem(text: str) -> str | None:
    if not text.strip():
        return 'is missing: write it, or take the entry out'
    if len(text) > LONGEST:
        return f'has {len(text)} characters: a quote is not closed, or the file is damaged'
    if any(mark in text for mark in '\0\r\n'):
        return f'{text[:80]!r} holds a NUL byte or a line break: mend it, or write the file again'
    try:
        text.encode()
    except UnicodeEncodeError:
        return f'{text[:80]!r} is half a character (a lone surrogate): write the file again as UTF-8'
    return None


def _first_use(draft: Draft, code: int) -> str:
    used = np.flatnonzero(draft.codes == code)
    return draft.where(int(draft.rows[used[0]])) if len(used) else 'the list of classes'


def _class_columns(
    draft: Draft, wanted: Sequence[str] | None, other_classes: str, notes: list[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The class of each name, -1 for none; and the names of the classes."""
    known = None if draft.declared is None else check_classes(draft.declared, draft.path)
    declared = set(known or ())
    if wanted is not None:
        classes = check_classes(wanted, draft.path, known=known)
    elif known is not None:
        classes = known
    elif not draft.names:
        raise UserError(
            f'{draft.path}: no picture has a label, so the classes can not be inferred: set metainfo.classes'
        )
    else:
        _check_no_numbers(draft)
        _check_no_blanks(draft)
        classes = sort_names(set(draft.names))
        notes.append(f'the {len(classes)} classes are inferred: {some(classes)}')
    _check_spelling(draft, draft.names if wanted is None else ())
    index = {name: number for number, name in enumerate(classes)}
    columns = np.array([index.get(name, -1) for name in draft.names], np.int64)
    others = [code for code, column in enumerate(columns.tolist()) if column < 0]
    if known is not None:
        others = [code for code in others if draft.names[code] not in declared]
    if others and known is None and _are_numbers(draft.names) and not _are_numbers(classes[:1]):
        return _numbered(draft, classes), classes
    if others:
        _refuse_others(draft, others, known or classes, other_classes, notes)
    return columns, classes


def sort_names(names) -> tuple[str, ...]:
    """Names in order, numbers by their value."""
    return tuple(sorted(names, key=int if _are_numbers(names) else None))


def _are_numbers(names) -> bool:
    return all(name.isascii() and name.isdigit() and len(name) < 10 for name in names)


def _check_no_numbers(draft: Draft) -> None:
    """See that names of classes are not numbers among names, nor such as -1 or 0.5."""
    numbers = [code for code, name in enumerate(draft.names) if re.fullmatch(r'[-+]?[\d.]*\d', name)]
    if numbers and not _are_numbers(draft.names):
        others = 'others are names' if len(numbers) < len(draft.names) else 'which is no index of a class'
        refuse(
            draft.path,
            _first_use(draft, numbers[0]),
            f'has the label {draft.names[numbers[0]]!r}, {others}: set metainfo.classes, or mend it',
        )


def _check_no_blanks(draft: Draft) -> None:
    """See that no class is what programs write for nothing."""
    for code, name in enumerate(draft.names):
        if name.casefold() in ('nan', 'null', '<na>', 'n/a'):
            refuse(
                draft.path,
                _first_use(draft, code),
                f'has the label {name!r}, which stands for nothing: leave it out, or set metainfo.classes if a class '
                'is called so',
            )


def _check_spelling(draft: Draft, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for code, name in enumerate(names):
        other = seen.setdefault(plain_letters(name), name)
        if other != name:
            one, others = told_apart(name, other)
            refuse(
                draft.path,
                _first_use(draft, code),
                f'names the class {one}, others {others}: spell both alike, or set metainfo.classes',
            )


def _numbered(draft: Draft, classes: Sequence[str]) -> np.ndarray:
    """Names that are indices of the classes."""
    for code, name in enumerate(draft.names):
        if int(name) >= len(classes):
            refuse(
                draft.path,
                _first_use(draft, code),
                f'has the label {name}, outside 0 to {len(classes) - 1} of the {len(classes)} classes: mend it, or '
                'metainfo.classes',
            )
    return np.array([int(name) for name in draft.names], np.int64)


def _refuse_others(
    draft: Draft, others: list[int], classes: Sequence[str], other_classes: str, notes: list[str]
) -> None:
    for code in others:
        name = draft.names[code]
        letters = plain_letters(name)
        meant = next((known for known in classes if plain_letters(known) == letters), None)
        if meant is None and other_classes == 'leave_out':
            continue
        meant = meant or similar_name(name, classes)
        asks = f'did you mean {meant}? ' if meant else ''
        refuse(
            draft.path,
            _first_use(draft, code),
            f'names the class {name!r}, which is not among the {len(classes)} classes {some(classes)}: {asks}Mend it '
            "or add it to metainfo.classes (other_classes='leave_out' passes over such labels)",
        )
    counts = np.bincount(draft.codes, minlength=len(draft.names))
    told = some([f'{draft.names[code]} ({counts[code]})' for code in others])
    notes.append(f'labels of other names than the classes are left out: {told}')


def _pictures(draft: Draft, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The first entry of each picture (N,), and the picture of each entry (E,)."""
    index: dict[str, int] = {}
    picture = np.array([index.setdefault(key, len(index)) for key in map(_key, draft.images)], np.int64)
    if len(index) == len(draft.images):
        return np.arange(len(index)), picture
    _, first = np.unique(picture, return_index=True)
    again = np.flatnonzero(first[picture] != np.arange(len(picture)))
    for name, column in (('split', draft.splits), ('group', draft.groups)):
        for entry in again.tolist() if column is not None else ():
            other = int(first[picture[entry]])
            if column[entry] != column[other]:
                refuse(
                    draft.path,
                    draft.where(entry),
                    f'{draft.images[entry]} has the {name} {column[entry]!r}, but {column[other]!r} in '
                    f'{draft.where(other)}: give it one',
                )
    if not draft.repeats:
        for entry in again.tolist():
            _compare(draft, int(first[picture[entry]]), entry)
        notes.append(
            f'{len(again)} entries name a picture again, with the same labels, and are left out: first '
            f'{draft.where(int(again[0]))}'
        )
    return first, picture


def _key(path: str) -> str:
    return os.path.normpath(path) if './' in path or '//' in path else path


def _compare(draft: Draft, one: int, other: int) -> None:
    """See that two entries of a picture say the same."""
    labels = []
    for entry in (one, other):
        said = slice(*np.searchsorted(draft.rows, (entry, entry + 1)))
        names = [draft.names[code] for code in draft.codes[said].tolist()]
        labels.append(set(zip(names, draft.values[said].tolist(), strict=True)))
    if labels[0] != labels[1]:
        differ = sorted({name for name, _ in labels[0] ^ labels[1]})
        refuse(
            draft.path,
            draft.where(other),
            f'{draft.images[other]} is already in {draft.where(one)} with other labels ({some(differ)} differ): keep '
            'one of the two',
        )


def _labels(
    draft: Draft, columns: np.ndarray, num_classes: int, first: np.ndarray, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, class and value of each label of the classes, sorted, none twice."""
    column = columns[draft.codes]
    kept = column >= 0
    if not draft.repeats and len(first) < len(picture):
        kept &= first[picture[draft.rows]] == draft.rows
    rows, values = draft.rows[kept], draft.values[kept]
    keys = picture[rows] * num_classes + column[kept]
    if (keys[1:] > keys[:-1]).all():
        return picture[rows], column[kept], values
    order = np.argsort(keys, kind='stable')
    keys, values = keys[order], values[order]
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    clash = np.flatnonzero(least != most)
    if draft.present_wins:
        clash = clash[(most[clash] != PRESENT) | (least[clash] != UNKNOWN)]
    if len(clash):
        start = starts[clash[0]]
        same = order[np.flatnonzero(keys == keys[start])]
        other = same[np.flatnonzero(values[keys == keys[start]] != values[start])[0]]
        entry = int(rows[other])
        name = draft.names[int(draft.codes[kept][other])]
        refuse(
            draft.path,
            draft.where(entry),
            f'{draft.images[entry]} is said to be both {draft.values[kept][other]} and {values[start]} of {name} '
            f'(first in {draft.where(int(rows[same[0]]))}): keep one of the two',
        )
    return keys[starts] // num_classes, keys[starts] % num_classes, most

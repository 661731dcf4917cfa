"""Which column of a csv file is what: the picture, the labels in one of three forms, the split and the group.

``onehot``: a column for each class, with 1, 0, or -1 or nothing (unknown). ``names``: one row for each picture, a
column of names. ``rows``: one row for each picture and label.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import some
from ..picture_names import is_picture
from .records import SPLIT_NAMES
from .table_rows import TableRows, one_of

_IMAGE = frozenset((
    'image', 'img', 'file', 'filename', 'file_name', 'filepath', 'file_path', 'path', 'img_path',
    'image_path', 'image_name', 'img_name', 'imagename', 'image_id', 'imageid', 'id', 'photo', 'picture',
    'name', 'images', 'files', 'filenames',
))  # fmt: skip
_LABELS = frozenset((
    'label', 'labels', 'class', 'classes', 'tag', 'tags', 'category', 'categories', 'class_name',
    'classname', 'label_name', 'labelname', 'names', 'annotation', 'annotations', 'gt_label', 'target',
    'targets',
))  # fmt: skip
_SPLIT = frozenset(['split', 'subset', 'partition', 'set'])
_GROUP = frozenset(['group', 'group_id', 'groups'])
#: Heads of columns that are not taken for classes.
NOT_CLASSES = _GROUP | {'split', 'image'}
_VALUE = frozenset(['value', 'confidence', 'present', 'presence'])
# What a cell of a one-hot column may hold, in small letters.
CELLS = {
    **dict.fromkeys(('1', '1.0', 'true', 'yes'), 1),
    **dict.fromkeys(('0', '0.0', 'false', 'no'), 0),
    **dict.fromkeys(('-1', '-1.0', '', 'nan', 'na', 'n/a', 'null', 'unknown', '?'), -1),
}


@dataclass(frozen=True)
class TableOptions:
    """What a user may say of a table in place of its being found out.

    Args:
        delimiter (str, optional): Between two cells.
        header (bool, optional): Whether the first row names the columns.
        image_column (str | int, optional): Name, or number from 0.
        label_columns (Sequence[str | int], optional): Likewise, one for names or several of ones and zeros.
        split_column (str | int, optional): Likewise.
        group_column (str | int, optional): Likewise.
        separator (str, optional): Between two names in a cell; ``''`` where each cell is one name.
    """

    delimiter: str | None = None
    header: bool | None = None
    image_column: str | int | None = None
    label_columns: Sequence[str | int] | str | int | None = None
    split_column: str | int | None = None
    group_column: str | int | None = None
    separator: str | None = None

    def __post_init__(self) -> None:
        """Raises ``UserError`` for what is none of these."""
        mark = self.delimiter
        if not (
            mark is None
            or (isinstance(mark, str) and len(mark) == 1 and mark.isascii() and mark not in '"\n\r')
        ):
            raise UserError(f'delimiter must be one character, such as ";", got {mark!r}')
        if not isinstance(self.header, bool | None):
            raise UserError(f'header must be True or False, got {self.header!r}')
        chosen = self.label_columns
        several = isinstance(chosen, Sequence) and not isinstance(chosen, str)
        for name, column in (
            ('image_column', self.image_column),
            *(('label_columns', each) for each in (chosen if several else [chosen])),
            ('split_column', self.split_column),
            ('group_column', self.group_column),
        ):
            if not isinstance(column, str | int | None):
                raise UserError(f'{name} must be names of columns or numbers from 0, got {column!r}')


@dataclass(frozen=True)
class TableLayout:
    """The columns of a table by number; ``labels`` are several for ``onehot`` and else one."""

    form: str
    image: int
    labels: tuple[int, ...]
    split: int | None
    group: int | None
    value: int | None
    left_out: tuple[int, ...]


def has_header(rows: TableRows, options: TableOptions) -> bool:
    """Whether the first row names the columns: it has no picture where the others have one."""
    if options.header is not None:
        return options.header
    first, *others = rows.head()
    if any(map(_names_picture, first)):
        return False
    named = one_of(first, _IMAGE | _LABELS)
    if named or any(_names_picture(cell) for row in others for cell in row):
        return True
    if any(cell.strip().casefold() in CELLS and cell.strip() for cell in first[1:]):
        return False
    rows.refuse(
        0,
        f'may name the columns or hold a picture ({some(first, 5)}): say header=True or header=False, or write names '
        'of pictures with their extension',
    )


def _names_picture(cell: str) -> bool:
    return is_picture(cell.strip())


def check_header(rows: TableRows, cells: Sequence[str]) -> list[str]:
    """The names of the columns; the first may be without one, as pandas writes its index."""
    names = [cell.strip() for cell in cells]
    for number, name in enumerate(names):
        if not name and number:
            rows.refuse(
                0, f'column {number + 1} of {len(names)} has no name: write one, or take the column out'
            )
        if name and name in names[:number]:
            rows.refuse(0, f'the column {name!r} is there twice: rename or remove one')
    return names


def image_column(rows: TableRows, names: Sequence[str] | None, options: TableOptions) -> int:
    """Which column names the pictures."""
    if options.image_column is not None:
        return column_number(rows, 'image_column', options.image_column, names)
    body = rows.head()[names is not None :]
    looks = [bool(body) and all(_names_picture(row[number]) for row in body) for number in range(rows.width)]
    named = one_of(names or (), _IMAGE)
    return next((number for number in named if looks[number]), None) or next(
        (number for number, fits in enumerate(looks) if fits), named[0] if named else 0
    )


def column_number(rows: TableRows, setting: str, column: str | int, names: Sequence[str] | None) -> int:
    """The number of a column that a user named."""
    if names is not None and column in names:
        return names.index(column)
    if isinstance(column, int) and not isinstance(column, bool) and 0 <= column < rows.width:
        return column
    there = f'the columns {some(names, 20)}' if names else f'{rows.width} columns, 0 to {rows.width - 1}'
    raise UserError(f'{rows.path}: {setting}={column!r} is not there: the file has {there}')


def find_layout(
    rows: TableRows,
    names: Sequence[str] | None,
    image: int,
    values: Sequence[Sequence[str]],
    options: TableOptions,
    classes: Sequence[str] | None,
    form: str | None,
    row_of: Callable[[int, str], int],
) -> TableLayout:
    """What each column is.

    Args:
        rows (TableRows): The table.
        names (Sequence[str], optional): Of the columns, None without a header.
        image (int): Which column names the pictures.
        values (Sequence[Sequence[str]]): The different values of each column.
        options (TableOptions): What the user says.
        classes (Sequence[str], optional): The classes, where they are known.
        form (str, optional): ``'onehot'``, ``'names'`` or ``'rows'`` where it is known.
        row_of (Callable[[int, str], int]): The row of ``rows`` where a column has a value.
    """
    heads = list(names) if names is not None else [''] * rows.width
    ones = [_is_onehot(column) for column in values]
    known = set(classes or ())

    def special(setting: str, given: str | int | None, words: frozenset[str]) -> int | None:
        if given is not None:
            return column_number(rows, setting, given, names)
        found = [n for n in one_of(heads, words) if n != image and heads[n] not in known]
        return found[0] if found else None

    split = special('split_column', options.split_column, _SPLIT)
    if split is None and names is None:
        split = next((n for n in range(rows.width) if n != image and _are_splits(values[n])), None)
    elif split is not None and options.split_column is None and ones[split] and any(values[split]):
        split = None
    group = special('group_column', options.group_column, _GROUP)
    rest = [number for number in range(rows.width) if number not in (image, split, group)]
    if options.label_columns is not None:
        given = options.label_columns
        given = [given] if isinstance(given, str | int) else list(given)
        chosen = [column_number(rows, 'label_columns', column, names) for column in given]
    else:
        chosen = _label_columns(rows, heads, rest, values, ones, known, form)
    if not chosen:
        rows.refuse(0, 'there is no column with labels: write one, or say label_columns')
    used = [('split_column', split), ('group_column', group), *(('label_columns', n) for n in chosen)]
    for setting in (setting for setting, number in used if number == image):
        raise UserError(
            f'{rows.path}: {setting} names the column of the pictures ({heads[image] or image}): name another or say '
            'image_column'
        )
    if len(chosen) > 1 or form == 'onehot' or (form is None and _is_class(chosen[0], heads, ones, known)):
        _check_onehot(rows, heads, chosen, values, ones, names is not None, row_of)
        return TableLayout('onehot', image, tuple(chosen), split, group, None, _others(rest, chosen))
    value = next(
        (
            n
            for n in one_of(heads, _VALUE)
            if n in rest and n not in chosen and ones[n] and form in (None, 'rows')
        ),
        None,
    )
    left_out = tuple(number for number in _others(rest, chosen) if number != value)
    return TableLayout(form or 'names', image, tuple(chosen), split, group, value, left_out)


def _is_class(number: int, heads: Sequence[str], ones: Sequence[bool], known: set[str]) -> bool:
    """Whether the only column with labels is one of ones and zeros, called as its class."""
    named = bool(heads[number]) and not one_of([heads[number]], _LABELS)
    return ones[number] and (named or heads[number] in known)


def _others(rest: Sequence[int], chosen: Sequence[int]) -> tuple[int, ...]:
    return tuple(number for number in rest if number not in chosen)


def _is_onehot(values: Sequence[str]) -> bool:
    return all(value.strip().casefold() in CELLS for value in values) and any(map(str.strip, values))


def _are_splits(values: Sequence[str]) -> bool:
    return all(value.strip().casefold() in SPLIT_NAMES for value in values)


def _label_columns(
    rows: TableRows,
    heads: Sequence[str],
    rest: Sequence[int],
    values: Sequence[Sequence[str]],
    ones: Sequence[bool],
    known: set[str],
    form: str | None,
) -> list[int]:
    """The columns with labels."""
    if known and known <= {heads[number] for number in rest}:
        return [number for number in rest if heads[number] in known]
    worded = [number for number in one_of(heads, _LABELS) if number in rest and not ones[number]]
    onehot = [
        number for number in rest if ones[number] and not (not heads[number] and _is_index(values[number]))
    ]
    if worded and form != 'onehot':
        valued = one_of(heads, _VALUE)
        mixed = [number for number in onehot if number not in valued]
        if mixed and form is None:
            first = heads[mixed[0]]
            rows.refuse(
                0,
                f'the column {heads[worded[0]]!r} holds names, but {first!r} ones and zeros: say which hold the '
                f'labels, label_columns={heads[worded[0]]!r} or label_columns=[{first!r}, ...]',
            )
        return worded[:1]
    rest = [number for number in rest if heads[number] or not any(heads) or not _is_index(values[number])]
    if len(rest) == 1:
        return rest
    if form in ('names', 'rows') and rest:
        rows.refuse(
            0, f'which of the columns {some([heads[n] or n for n in rest])} has the labels? say label_columns'
        )
    return rest


def _is_index(values: Sequence[str]) -> bool:
    """Whether a column without a name counts the rows."""
    return all(value.isdigit() for value in values) and len(values) > 1


def _check_onehot(
    rows: TableRows,
    heads: Sequence[str],
    chosen: Sequence[int],
    values: Sequence[Sequence[str]],
    ones: Sequence[bool],
    named: bool,
    row_of: Callable[[int, str], int],
) -> None:
    """See that columns of ones and zeros hold nothing else."""
    blank = [number for number in chosen if not ones[number] and not any(map(str.strip, values[number]))]
    wrong = [number for number in chosen if not ones[number] and number not in blank]
    if not wrong:
        return
    bad = next(value for value in values[wrong[0]] if value.strip().casefold() not in CELLS)
    if len(wrong) < len(chosen):
        rows.refuse(
            row_of(wrong[0], bad),
            f'column {heads[wrong[0]] or wrong[0] + 1!r} holds {bad[:80]!r}, others ones and zeros: write 1 '
            '(present), 0 (absent), or -1 or nothing (unknown), or say label_columns',
        )
    listed = some([heads[number] or f'column {number + 1}' for number in chosen])
    rows.refuse(
        0,
        f'which column has the labels? {listed} hold neither 1 and 0 (but {bad[:20]!r}), nor is one called '
        'labels: write 1 (present), 0 (absent), or -1 or nothing (unknown), or say label_columns'
        if named
        else f'{listed} hold no ones and zeros: put all names into one column, or name '
        'the columns in a first row',
    )


def as_numbers(values: Sequence[str]) -> np.ndarray:
    """1, 0 or -1 for each value of a one-hot column."""
    return np.array([CELLS[value.strip().casefold()] for value in values], np.int8)

"""CSV and TSV files in three forms, read by pandas; see ``table_layout.py`` for the forms.

R is the number of rows.
"""

import ast
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from operator import itemgetter

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import some
from .assembly import Draft
from .boxed import only_present
from .records import PRESENT, LabelTable
from .table_layout import (
    NOT_CLASSES,
    TableLayout,
    TableOptions,
    as_numbers,
    check_header,
    find_layout,
    has_header,
    image_column,
)
from .table_rows import TableRows, find_rows, one_of

# Taken for separators wherever they occur, the first of them that does.
_STRONG = (';', '|', ',', '\t')
# Taken only if that makes names which occur elsewhere too: they may be part of a name.
_WEAK = (' ', '+', '/', '&')


def read_table(path: str, classes: Sequence[str] | None = None, form: str | None = None, **options) -> Draft:
    """Read a csv or tsv file; ``form`` and ``options`` (:class:`TableOptions`) say what is not to be found out."""
    options = TableOptions(**options)
    rows = find_rows(path, options.delimiter)
    header = has_header(rows, options)
    names = check_header(rows, rows.head(1)[0]) if header else None
    image = image_column(rows, names, options)
    frame = _read_cells(rows, image, header)
    if header:
        _check_no_other_header(rows, names, image, frame)
    values = [[] if number == image else list(frame[number].cat.categories) for number in range(rows.width)]
    skipped = int(header)

    def row_of(column: int, value: str) -> int:
        return int(np.flatnonzero((frame[column] == value).to_numpy())[0]) + skipped

    layout = find_layout(rows, names, image, values, options, classes, form, row_of)
    notes = []
    if layout.left_out:
        notes.append(
            f'columns without labels are passed over: {some([_head(names, n) for n in layout.left_out])}'
        )
    common = dict(
        where=lambda row: f'line {rows.lines[row + skipped]}',
        splits=_texts(frame, layout.split),
        groups=_texts(frame, layout.group),
        notes=notes,
    )
    images = np.asarray(frame[image], object).tolist()
    if layout.form == 'onehot':
        return _onehot(rows, names, images, frame, layout, classes, common)
    return _named(path, images, frame, layout, options, classes, common, form)


def _read_cells(rows: TableRows, image: int, header: bool):
    """A data frame of all rows below the header: paths as texts, all else as categories, which are texts."""
    import pandas as pd

    kinds = {number: str if number == image else 'category' for number in range(rows.width)}
    body = memoryview(rows.body)[rows.second if header else 0 :]
    if not body:
        raise UserError(
            f'{rows.path}: has a header in line {rows.lines[0]} and nothing below: write a row for each picture'
        )
    try:
        return pd.read_csv(
            io.BytesIO(body),
            sep=rows.delimiter,
            header=None,
            names=range(rows.width),
            index_col=False,
            dtype=kinds,
            na_filter=False,
            skip_blank_lines=False,
            engine='c',
            low_memory=False,
        )
    except (pd.errors.ParserError, ValueError) as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'{rows.path}: not a table that pandas reads ({reason}): write it again as csv'
        ) from error


def _check_no_other_header(rows: TableRows, names: Sequence[str], image: int, frame) -> None:
    """See that no row is the header once more, as where files were put together."""
    for row in np.flatnonzero(np.asarray(frame[image], object) == names[image]).tolist():
        if [str(cell).strip() for cell in frame.iloc[row]] == list(names):
            rows.refuse(row + 1, f'is the header of line {rows.lines[0]} again: take it out')


def _head(names: Sequence[str] | None, number: int) -> str:
    return (names[number] if names else '') or f'column {number + 1}'


def _texts(frame, number: int | None) -> list | None:
    """The cells of a column, None for blank ones; None if all are."""
    if number is None:
        return None
    column = frame[number].cat
    texts = np.array([text.strip() or None for text in column.categories], object)
    if not any(texts):
        return None
    return texts[column.codes].tolist()


def _onehot(
    rows: TableRows,
    names: Sequence[str] | None,
    images: list[str],
    frame,
    layout: TableLayout,
    classes: Sequence[str] | None,
    common: dict,
) -> Draft:
    columns = layout.labels
    if names is None and (classes is None or len(classes) != len(columns)):
        given = 'none are given' if classes is None else f'{len(classes)} are given'
        rows.refuse(
            0,
            f'no header names the {len(columns)} columns of ones and zeros, and of classes {given}: name them in '
            'a first row, or set metainfo.classes',
        )
    heads = list(classes) if names is None else [names[number] for number in columns]
    found = []
    for code, number in enumerate(columns):
        column = frame[number].cat
        said = as_numbers(column.categories)[column.codes]
        # Zeros are left out: a class that is not named is absent.
        at = np.flatnonzero(said)
        found.append((at, np.full(len(at), code), said[at]))
    at, codes, values = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(at, kind='stable')
    return Draft(
        rows.path,
        'csv-onehot',
        images,
        at[order],
        codes[order],
        values[order],
        heads,
        declared=heads,
        names_all=True,
        **common,
    )


def _named(
    path: str,
    images: list[str],
    frame,
    layout: TableLayout,
    options: TableOptions,
    classes: Sequence[str] | None,
    common: dict,
    form: str | None,
) -> Draft:
    column = frame[layout.labels[0]].cat
    cells = [cell.strip() for cell in column.categories]
    repeated = form != 'names' and len(set(images)) < len(images)
    separator, note = find_separator(path, cells, options.separator, classes)
    as_rows = form == 'rows' or layout.value is not None or (repeated and not separator and form is None)
    common['notes'] += [note] if note and not as_rows else []
    lists = [[cell] if cell and as_rows else split_names(cell, separator) for cell in cells]
    index: dict[str, int] = {}
    flat = [[index.setdefault(name, len(index)) for name in listed] for listed in lists]
    lengths = np.array(list(map(len, flat)), np.int64)
    offsets, codes = np.r_[0, np.cumsum(lengths)[:-1]], np.array(list(chain.from_iterable(flat)), np.int64)
    cell_codes = column.codes.to_numpy()
    counts = lengths[cell_codes]
    rows = np.repeat(np.arange(len(images)), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    codes = codes[np.repeat(offsets[cell_codes], counts) + within]
    values, closed = np.ones(len(rows), np.int8), True
    if layout.value is not None:
        said = frame[layout.value].cat
        values = as_numbers(said.categories)[said.codes][rows]
        closed = not (values == 0).any()
        if not closed:
            common['notes'].append(
                "says which classes are absent, so what it does not name is unknown (unlisted='unknown')"
            )
    name = 'csv-rows' if as_rows else 'csv-names'
    return Draft(
        path, name, images, rows, codes, values, list(index), repeats=as_rows, closed=closed, **common
    )


def split_names(cell: str, separator: str) -> list[str]:
    """The names in a cell, none twice and none blank; a list as Python or NumPy prints it is one too."""
    listed = _printed_list(cell)
    if listed is not None:
        return list(dict.fromkeys(listed))
    return list(dict.fromkeys(split_all(cell, separator)))


def split_all(cell: str, separator: str) -> list[str]:
    """The names in a text, as often as they stand there; ``''`` separates none, a blank stands for any number."""
    parts = (cell.split() if separator == ' ' else cell.split(separator)) if separator else [cell]
    return [part for part in map(str.strip, parts) if part]


def _printed_list(cell: str) -> list[str] | None:
    if cell[:1] + cell[-1:] not in ('[]', '()', '{}'):
        return None
    # NumPy prints no commas, and Python would join the names.
    spaced = re.sub(r"""(?<=\w['"])\s+(?=['"]\w)""", ', ', cell)
    try:
        listed = ast.literal_eval(spaced)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(listed, list | tuple | set):
        return None
    names = [str(name).strip() for name in listed]
    return sorted(names) if isinstance(listed, set) else names


def find_separator(
    path: str, cells: Sequence[str], given: str | None, classes: Sequence[str] | None
) -> tuple[str, str]:
    """What stands between two names in a cell, ``''`` for nothing; and what to say of it."""
    if given is not None:
        return given, ''
    cells = [cell for cell in cells if _printed_list(cell) is None]
    known = set(classes or ())
    if known and set(cells) - {''} <= known:
        return '', ''
    for mark in (*_STRONG, *_WEAK):
        if known and any(mark in cell for cell in cells):
            parts = set(chain.from_iterable(split_names(cell, mark) for cell in cells))
            if parts <= known:
                return mark, ''
    if known:
        # Other names occur, too. What is in a cell that is the name of a class separates none.
        within = {mark for cell in known.intersection(cells) for mark in cell}
        marks = [mark for mark in (*_STRONG, *_WEAK) if mark not in within]
        return next((mark for mark in marks if any(mark in cell for cell in cells)), ''), ''
    for mark in _STRONG:
        if any(mark in cell for cell in cells):
            return mark, f'names are separated by {mark!r}'
    for mark in _WEAK:
        joined = [cell for cell in cells if mark in cell]
        if not joined:
            continue
        uses: dict[str, int] = {}
        for cell in cells:
            for part in split_names(cell, mark):
                uses[part] = uses.get(part, 0) + 1
        again = [all(uses[part] > 1 for part in split_names(cell, mark)) for cell in joined]
        if all(again):
            return mark, f'names are separated by {mark!r}, since each part occurs elsewhere too'
        if any(again):
            whole, parts = joined[again.index(False)], joined[again.index(True)]
            raise UserError(
                f'{path}: it can not be seen whether {mark!r} separates names: {parts!r} looks like several and '
                f"{whole!r} like one: say separator={mark!r} (or separator='' if each cell is one name)"
            )
    return '', ''


def write_table(table: LabelTable, path: str, form: str) -> None:
    """Write a csv file in one of the three forms."""
    columns = table.columns
    heads, rows = _CELLS[form](table, path)
    more = {
        name: said
        for name, said in (('split', columns.splits), ('group', columns.groups))
        if said is not None
    }
    with open(path, 'x', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['image', *heads, *more])
        writer.writerows(
            [columns.images[number], *cells, *(said[number] for said in more.values())]
            for number, cells in rows
        )


def _onehot_cells(table: LabelTable, path: str) -> tuple[list[str], Iterable[tuple[int, list]]]:
    """Heads, and the picture and cells of each row."""
    taken = one_of(table.classes, NOT_CLASSES)
    if taken:
        raise UserError(
            f'{path}: a column {table.classes[taken[0]]!r} would not be read as that of a class: rename the class, '
            'or write csv-names or jsonl'
        )
    return list(table.classes), ((number, row.tolist()) for number, row in enumerate(table.matrix()))


def _names_cells(table: LabelTable, path: str) -> tuple[list[str], Iterable[tuple[int, list]]]:
    only_present(table, path, 'csv-names')
    mark, columns = _free_mark(table, path), table.columns
    named = [table.classes[column] for column in columns.columns.tolist()]
    bounds = np.searchsorted(columns.rows, np.arange(len(columns) + 1)).tolist()
    lists = [named[start:end] for start, end in pairwise(bounds)]
    cells = list(map(mark.join, lists))
    _check_read_alike(path, dict(zip(cells, lists, strict=True)))
    return ['labels'], ((number, [cell]) for number, cell in enumerate(cells))


def _rows_cells(table: LabelTable, path: str) -> tuple[list[str], Iterable[tuple[int, list]]]:
    columns = table.columns
    cells = [[table.classes[column]] for column in columns.columns.tolist()]
    heads, blank = ['label'], ['']
    if (columns.values == PRESENT).all():
        _check_read_alike(path, {cell[0]: cell for cell in cells})
    else:
        heads, blank = ['label', 'value'], ['', '']
        cells = [[*cell, value] for cell, value in zip(cells, columns.values.tolist(), strict=True)]
    unsaid = np.setdiff1d(np.arange(len(columns)), columns.rows).tolist()
    rows = [*zip(columns.rows.tolist(), cells, strict=True), *((number, blank) for number in unsaid)]
    return heads, sorted(rows, key=itemgetter(0))


_CELLS = dict(onehot=_onehot_cells, names=_names_cells, rows=_rows_cells)


def _check_read_alike(path: str, cells: Mapping[str, list[str]]) -> None:
    """See that each cell is read as the names in it where nothing but the file is known."""
    try:
        separator, _ = find_separator(path, list(cells), None, None)
        odd = [cell for cell, names in cells.items() if split_names(cell, separator) != names]
    except UserError:
        odd = [cell for cell in cells if any(mark in cell for mark in _WEAK)]
    if odd:
        raise UserError(
            f'{path}: {odd[0]!r} would be read as other names of classes: rename them, or write csv-onehot or jsonl'
        )


def _free_mark(table: LabelTable, path: str) -> str:
    """A separator that no class name holds."""
    free = [mark for mark in _STRONG if not any(mark in name for name in table.classes)]
    if not free:
        raise UserError(f'{path}: class names hold each of {" ".join(_STRONG[:3])} and tab: write csv-onehot')
    return free[0]


def has_strong_mark(name: str) -> bool:
    """Whether a name holds what would be taken for a separator."""
    return any(mark in name for mark in _STRONG)

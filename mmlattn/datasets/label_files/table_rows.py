"""The rows of a csv file, found and counted before pandas reads their cells, so that each is named by its line.

A quote opens at the beginning of a cell and closes at its end; within, it is doubled; line breaks may stand in it.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import not_utf8, read_bytes, refuse
from .assembly import LONGEST

_DELIMITERS = (',', '\t', ';', '|')
_BLANK = b' \t'


@dataclass(frozen=True)
class TableRows:
    """The rows of a table.

    Args:
        path (str): The file.
        body (bytes): Its text in UTF-8 without blank rows, each row ended by one line feed.
        delimiter (str): What is between two cells.
        width (int): How many cells each row has.
        lines (np.ndarray): Shape (R,), the line that each row begins in, counted from 1.
        second (int): Where in ``body`` the second row begins.
    """

    path: str
    body: bytes
    delimiter: str
    width: int
    lines: np.ndarray
    second: int

    def head(self, most: int = 100) -> list[list[str]]:
        """The cells of the first rows."""
        text = io.TextIOWrapper(io.BytesIO(self.body), 'utf-8', newline='')
        rows = csv.reader(text, delimiter=self.delimiter)
        return [row for _, row in zip(range(min(most, len(self.lines))), rows, strict=False)]

    def refuse(self, row: int, problem: str) -> None:
        """Refuse a row, counted from 0."""
        refuse(self.path, f'line {self.lines[row]}', problem)


def read_text_bytes(path: str) -> bytes:
    """The text of a file in UTF-8 without byte order mark, lines ended by a line feed.

    Raises:
        UserError: For an empty file, another encoding or a NUL byte.
    """
    content = read_bytes(path, 'set data_root and ann_file of the data set').removeprefix(b'\xef\xbb\xbf')
    if not content.strip():
        raise UserError(f'{path}: the file is empty: write or download it again')
    if content.startswith(b'PK\x03\x04'):
        raise UserError(
            f'{path}: a zip archive or an Excel workbook, not text: unpack it, or save it as csv (UTF-8)'
        )
    try:
        content.decode('utf-8')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path}: {not_utf8(content, error)}: save it as UTF-8 (Excel: "CSV UTF-8"), or unpack it again'
        ) from error
    if b'\0' in content:
        line = content.count(b'\n', 0, content.index(b'\0')) + 1
        refuse(path, f'line {line}', 'holds a NUL byte: the file is damaged, or not UTF-8: write it again')
    if b'\r' in content:
        content = content.replace(b'\r\n', b'\n').replace(b'\r', b'\n')
    return content if content.endswith(b'\n') else content + b'\n'


def find_rows(path: str, delimiter: str | None) -> TableRows:
    """The rows of a csv file.

    Args:
        path (str): The file.
        delimiter (str, optional): One character. Defaults to what the first lines have alike.

    Raises:
        UserError: If it is no text, or rows differ in their number of cells, or a quote is out of place.
    """
    content = read_text_bytes(path)
    # Excel's first line for Excel; a blank line in its place keeps the numbers of the others.
    told = re.match(rb'"?sep=([,;|\t])"?[,;|\t ]*\n', content, re.IGNORECASE)
    if told:
        content, delimiter = content[told.end() - 1 :], delimiter or told[1].decode()
    delimiter = delimiter or _find_delimiter(path, content)
    text = np.frombuffer(content, np.uint8)
    breaks = np.flatnonzero(text == ord('\n'))
    cuts = np.flatnonzero(text == ord(delimiter))
    ends = breaks
    if b'"' in content:
        quotes = np.flatnonzero(text == ord('"'))
        _check_quotes(path, text, quotes, breaks, delimiter)
        cuts, ends = (marks[np.searchsorted(quotes, marks) % 2 == 0] for marks in (cuts, breaks))
    starts = np.r_[0, ends[:-1] + 1]
    counts = np.diff(np.searchsorted(cuts, np.r_[0, ends]))
    blank = ends - starts == counts
    for row in np.flatnonzero(
        np.isin(text[np.minimum(starts, len(text) - 1)], list(_BLANK)) & ~blank
    ).tolist():
        blank[row] = not content[starts[row] : ends[row]].strip(_BLANK + delimiter.encode())
    if blank.any():
        kept = np.flatnonzero(~blank)
        lines = np.searchsorted(breaks, starts[kept]) + 1
        body = b''.join(content[starts[row] : ends[row] + 1] for row in kept.tolist())
        second = int(ends[kept[0]] + 1 - starts[kept[0]]) if len(kept) else 0
        counts = counts[kept]
    else:
        body, lines, second = content, np.searchsorted(breaks, starts) + 1, int(ends[0]) + 1
    if not len(counts):
        raise UserError(f'{path}: the file has no row with anything in it: write or download it again')
    _check_widths(path, counts, lines, delimiter)
    marks = np.sort(np.r_[-1, cuts, ends])
    longest = int(np.diff(marks).argmax())
    if marks[longest + 1] - marks[longest] > LONGEST:
        line = int(np.searchsorted(breaks, marks[longest] + 1)) + 1
        size = int(marks[longest + 1] - marks[longest])
        refuse(
            path, f'line {line}', f'a cell has {size} bytes: the file is damaged, or a quote is not closed'
        )
    return TableRows(path, body, delimiter, int(counts[0]) + 1, lines, second)


def _find_delimiter(path: str, content: bytes) -> str:
    """What the first lines have alike, or else what the first has."""
    lines = [line for line in content[:200_000].split(b'\n')[:50] if line.strip()]
    if path.lower().endswith(('.tsv', '.tab')) and any(b'\t' in line for line in lines):
        return '\t'
    counts = {mark: [_unquoted(line, mark) for line in lines] for mark in _DELIMITERS}
    for mark, found in counts.items():
        if found[0] and len(set(found[:-1] or found)) == 1:
            return mark
    for mark, found in counts.items():
        if found[0]:
            return mark
    raise UserError(
        f'{path}: has one column alone (no comma, tab, semicolon or bar in line 1), expected a picture and its '
        'labels: write them, or say delimiter'
    )


def _unquoted(line: bytes, mark: str) -> int:
    return b''.join(line.split(b'"')[::2]).count(mark.encode())


def _check_quotes(
    path: str, text: np.ndarray, quotes: np.ndarray, breaks: np.ndarray, delimiter: str
) -> None:
    """See that quotes open and close at the ends of cells only."""
    around = np.array([ord(delimiter), ord('\n'), ord('"')], np.uint8)
    opening, closing = quotes[::2], quotes[1::2]
    before = np.where(opening > 0, text[opening - 1], ord('\n'))
    after = text[np.minimum(closing + 1, len(text) - 1)]
    wrong = np.r_[opening[~np.isin(before, around)], closing[~np.isin(after, around)]]
    if len(wrong):
        line = int(np.searchsorted(breaks, wrong.min())) + 1
        mend = 'put the whole cell into quotes, and double those within'
        refuse(path, f'line {line}', f'a quote (") stands within a cell: {mend}')
    if len(quotes) % 2:
        line = int(np.searchsorted(breaks, opening[-1])) + 1
        refuse(path, f'line {line}', 'a quote (") is opened and never closed: close it')


def _check_widths(path: str, counts: np.ndarray, lines: np.ndarray, delimiter: str) -> None:
    odd = np.flatnonzero(counts != counts[0])
    if len(odd):
        row = int(odd[0])
        name = {'\t': 'tab'}.get(delimiter, delimiter)
        refuse(
            path,
            f'line {lines[row]}',
            f'has {counts[row] + 1} columns, but line {lines[0]} has {counts[0] + 1} (between them {name}): put a '
            'cell that holds this mark into quotes, or fill the row up',
        )


def one_of(cells: Sequence[str], words: frozenset[str]) -> list[int]:
    """The columns whose head is one of the words, in any case."""
    return [number for number, cell in enumerate(cells) if cell.strip().casefold() in words]

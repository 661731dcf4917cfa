"""Tables of a page: cells with a text, a value to sort by, and a ground that says how much."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from matplotlib.colors import to_hex, to_rgb

from ..palette import OKABE_ITO, legible_on

#: Grounds from none to full, and what they are mixed from: blue for what should be high, orange for errors.
HEAT_STEPS = 8
HEATS = dict(good=OKABE_ITO['sky_blue'], bad=OKABE_ITO['orange'])


@dataclass(frozen=True)
class Column:
    """A column: its title, what it means, how it is written and which ground it gets.

    Attributes:
        title: Above the column.
        tip: What it is, for those who ask.
        share: The values are fractions, which are written in percent; else whole numbers or texts.
        heat: A key of ``HEATS``, or '' for a plain ground.
    """

    title: str
    tip: str = ''
    share: bool = False
    heat: str = ''


@dataclass(frozen=True)
class Cell:
    """What is written, what is sorted by (None comes last), the class of the ground, and where a click leads."""

    text: str
    value: float | str | None
    ground: str = ''
    link: str = ''


@dataclass(frozen=True)
class Row:
    """Cells, the names that a filter looks at, and the numbers of the pictures that show what the row counts."""

    cells: tuple[Cell, ...]
    names: tuple[str, ...] = ()
    pictures: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """Columns and rows; ``total`` says how many rows there would be without a limit."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    total: int

    @property
    def illustrated(self) -> bool:
        """Whether any row has pictures."""
        return any(row.pictures for row in self.rows)


def make_table(
    columns: Sequence[Column],
    values: Sequence[Sequence],
    names: Sequence[tuple[str, ...]],
    *,
    links: Sequence[str] | None = None,
    pictures: Sequence[tuple[int, ...]] | None = None,
    total: int | None = None,
) -> Table:
    """A table of values, row by row.

    The ground of a share is the share itself, that of a count its share of the largest count in the column.

    Args:
        columns (Sequence[Column]): Of the table.
        values (Sequence[Sequence]): One for each column in each row; NaN where there is none.
        names (Sequence[tuple]): Of the classes that a row is about.
        links (Sequence[str], optional): Where the first cell of each row leads, such as ``'#c3'``.
        pictures (Sequence[tuple], optional): Numbers of pictures for each row.
        total (int, optional): Rows there would be without a limit.
    """
    most = [
        1 if column.share else max((row[i] for row in values if _is_number(row[i])), default=0)
        for i, column in enumerate(columns)
    ]
    rows = []
    for number, row in enumerate(values):
        cells = [
            _cell(value, column, most[i]) for i, (value, column) in enumerate(zip(row, columns, strict=True))
        ]
        if links is not None:
            cells[0] = Cell(cells[0].text, cells[0].value, cells[0].ground, links[number])
        rows.append(Row(tuple(cells), tuple(names[number]), tuple(pictures[number]) if pictures else ()))
    return Table(tuple(columns), tuple(rows), len(rows) if total is None else total)


def heat_class(share: float, heat: str) -> str:
    """The class of the ground for a share of 0 to 1, such as ``'good5'``; '' for none."""
    step = math.ceil(share * HEAT_STEPS) if 0 < share <= 1 else 0
    return f'{heat}{step}' if step else ''


def heat_colors() -> dict[str, tuple[str, str]]:
    """Ground and letters of each class of :func:`heat_class`."""
    colors = {}
    for heat, full in HEATS.items():
        for step in range(1, HEAT_STEPS + 1):
            ground = to_hex([1 + (c - 1) * step / HEAT_STEPS for c in to_rgb(full)])
            colors[f'{heat}{step}'] = ground, legible_on(ground)
    return colors


def percent(value: float) -> str:
    """A fraction in percent; a dash where there is none."""
    return '–' if math.isnan(value) else f'{100 * value:.1f}'


def _is_number(value) -> bool:
    return isinstance(value, Real) and not math.isnan(value)


def _cell(value, column: Column, most: float) -> Cell:
    if not isinstance(value, Real):
        return Cell(str(value), str(value))
    if math.isnan(value):
        return Cell('–', None)
    text = percent(value) if column.share else f'{value:g}' if isinstance(value, float) else f'{value:,}'
    return Cell(text, float(value), heat_class(value / most, column.heat) if column.heat and most else '')

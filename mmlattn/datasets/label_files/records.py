"""What every label file says, whatever its format: pictures, and which classes each has.

N is the number of pictures, C that of classes, M that of labels said, K that of boxes. A label is 1 (present),
0 (absent) or -1 (unknown). What is not said of a class means absent in a *closed* table, and unknown in another.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
#: What people call the splits, in small letters.
SPLIT_NAMES = {
    **dict.fromkeys(('train', 'training'), 'train'),
    **dict.fromkeys(('val', 'valid', 'validation', 'dev'), 'val'),
    **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """What a file says of one picture.

    Args:
        image (str): Its path, as the file has it.
        labels (Mapping[str, int]): 1, 0 or -1 by class name. Classes need not all be there.
        split (str, optional): Such as ``'train'``.
        group (str, optional): Pictures of one group (frames of a video, say) never go into different splits.
        where (str): Line or entry of the file, for messages.
        boxes (tuple, optional): Each (class name, (left, top, right, bottom)), edges in pixels counted from 0; None
            where the file has no boxes.
        size (tuple[float, float], optional): Width and height in pixels.
    """

    image: str
    labels: Mapping[str, int]
    split: str | None = None
    group: str | None = None
    where: str = ''
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] | None = None
    size: tuple[float, float] | None = None

    @property
    def present(self) -> list[str]:
        """The classes that it has."""
        return [name for name, value in self.labels.items() if value == PRESENT]

    @property
    def parts(self) -> dict[str, str]:
        """Split and group, as far as they are said."""
        told = dict(split=self.split, group=self.group)
        return {key: value for key, value in told.items() if value is not None}


@dataclass(frozen=True, eq=False)
class LabelBoxes:
    """Boxes of all pictures, those of a picture one after another.

    Args:
        rows (np.ndarray): Shape (K,), ascending, which picture.
        columns (np.ndarray): Shape (K,), which class.
        corners (np.ndarray): Shape (K, 4) float64, left, top, right, bottom in pixels.
    """

    rows: np.ndarray
    columns: np.ndarray
    corners: np.ndarray


@dataclass(frozen=True, eq=False)
class LabelColumns(Sequence):
    """The records of a table as columns, which take less time and memory; an item is a :class:`LabelRecord`.

    Args:
        images (Sequence[str]): N paths.
        classes (tuple[str, ...]): C names.
        rows (np.ndarray): Shape (M,), ascending, which picture a label is of.
        columns (np.ndarray): Shape (M,), which class; ascending in each picture, none twice.
        values (np.ndarray): Shape (M,) int8, 1, 0 or -1.
        where (Callable[[int], str]): Line or entry of picture i.
        splits (Sequence[str | None], optional): N of them.
        groups (Sequence[str | None], optional): Likewise.
        sizes (np.ndarray, optional): Shape (N, 2), width and height; NaN where not known.
        boxes (LabelBoxes, optional): None where the file has none.
    """

    images: Sequence[str]
    classes: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    where: Callable[[int], str] = str
    splits: Sequence[str | None] | None = None
    groups: Sequence[str | None] | None = None
    sizes: np.ndarray | None = None
    boxes: LabelBoxes | None = None

    def __len__(self) -> int:
        """N."""
        return len(self.images)

    def __getitem__(self, index):
        """The record of a picture, or the list of those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        said = slice(*np.searchsorted(self.rows, (number, number + 1)))
        values = zip(self.columns[said].tolist(), self.values[said].tolist(), strict=True)
        size = None if self.sizes is None or np.isnan(self.sizes[number]).any() else self.sizes[number]
        return LabelRecord(
            self.images[number],
            {self.classes[column]: value for column, value in values},
            None if self.splits is None else self.splits[number],
            None if self.groups is None else self.groups[number],
            self.where(number),
            None if self.boxes is None else self._boxes_of(number),
            None if size is None else tuple(size.tolist()),
        )

    def _boxes_of(self, number: int) -> tuple:
        span = slice(*np.searchsorted(self.boxes.rows, (number, number + 1)))
        columns, corners = self.boxes.columns[span].tolist(), self.boxes.corners[span].tolist()
        return tuple((self.classes[column], tuple(box)) for column, box in zip(columns, corners, strict=True))

    def take(self, chosen: np.ndarray) -> 'LabelColumns':
        """The pictures at ``chosen``, ascending indices."""
        place = np.full(len(self), -1)
        place[chosen] = np.arange(len(chosen))
        said = place[self.rows] >= 0
        boxes = self.boxes
        if boxes is not None:
            kept = place[boxes.rows] >= 0
            boxes = LabelBoxes(place[boxes.rows[kept]], boxes.columns[kept], boxes.corners[kept])
        where, picked = self.where, [int(number) for number in chosen]
        pick = lambda values: None if values is None else [values[number] for number in picked]  # noqa: E731
        return LabelColumns(
            pick(self.images),
            self.classes,
            place[self.rows[said]],
            self.columns[said],
            self.values[said],
            lambda number: where(picked[number]),
            pick(self.splits),
            pick(self.groups),
            None if self.sizes is None else self.sizes[chosen],
            boxes,
        )

    @classmethod
    def of(cls, records: Iterable[LabelRecord], classes: Sequence[str]) -> 'LabelColumns':
        """The columns of records whose labels are all of ``classes``."""
        records, index = list(records), {name: number for number, name in enumerate(classes)}
        said = [sorted((index[name], value) for name, value in record.labels.items()) for record in records]
        flat = np.array(list(chain.from_iterable(said)), np.int64).reshape(-1, 2)
        sizes = [record.size or (np.nan, np.nan) for record in records]
        boxed = [(row, *box) for row, record in enumerate(records) for box in record.boxes or ()]
        boxes = LabelBoxes(
            np.array([row for row, *_ in boxed], np.int64),
            np.array([index[name] for _, name, _ in boxed], np.int64),
            np.array([corners for *_, corners in boxed], float).reshape(-1, 4),
        )
        return cls(
            [record.image for record in records],
            tuple(classes),
            np.repeat(np.arange(len(records)), list(map(len, said))),
            flat[:, 0],
            flat[:, 1].astype(np.int8),
            lambda number: records[number].where,
            _column(records, 'split'),
            _column(records, 'group'),
            np.array(sizes, float).reshape(-1, 2) if any(record.size for record in records) else None,
            boxes if any(record.boxes is not None for record in records) else None,
        )


def _column(records: Sequence[LabelRecord], name: str) -> list | None:
    values = [getattr(record, name) for record in records]
    return values if any(value is not None for value in values) else None


@dataclass(frozen=True, eq=False)
class LabelTable:
    """All records of a label file.

    Args:
        records (Sequence[LabelRecord]): In the order of the file; a list, or :class:`LabelColumns`.
        classes (tuple[str, ...]): Names, in order.
        format (str): One of ``FORMATS``, or ''.
        closed (bool): Whether a class that is not named for a picture is absent there; else it is unknown.
    """

    records: Sequence[LabelRecord]
    classes: tuple[str, ...]
    format: str = ''
    closed: bool = True
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """N."""
        return len(self.records)

    @cached_property
    def columns(self) -> LabelColumns:
        """The records as columns."""
        is_columns = isinstance(self.records, LabelColumns)
        return self.records if is_columns else LabelColumns.of(self.records, self.classes)

    def take(self, chosen: np.ndarray) -> 'LabelTable':
        """The table of the pictures at ``chosen``, ascending indices."""
        return replace(self, records=self.columns.take(chosen))

    def matrix(self) -> np.ndarray:
        """What is said of each class: (N, C) int8 of 1, 0 and -1."""
        columns = self.columns
        unsaid = ABSENT if self.closed else UNKNOWN
        labels = np.full((len(columns), len(self.classes)), unsaid, np.int8)
        labels[columns.rows, columns.columns] = columns.values
        return labels

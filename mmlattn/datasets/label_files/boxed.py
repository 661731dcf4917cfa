"""What formats share that say labels by objects with boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmlattn.utils.errors import UserError

from ..box_conventions import check_boxes
from .assembly import Draft
from .records import PRESENT, LabelBoxes, LabelTable


@dataclass
class Objects:
    """The objects of all pictures, as a reader finds them.

    Args:
        path (str): The file, for messages.
        labels (list[dict]): Value by name for each picture; present wins over unknown.
        boxes (list): Each (picture, name, corners in pixels, place).
    """

    path: str
    labels: list[dict] = field(default_factory=list)
    boxes: list = field(default_factory=list)

    def say(self, name: str, value: int = PRESENT) -> None:
        """Say a label of the last picture."""
        said = self.labels[-1]
        said[name] = max(value, said.get(name, value))

    def add_box(self, name: str, corners: Sequence[float], place: tuple[str, str]) -> None:
        """Add a box of the last picture."""
        self.boxes.append((len(self.labels) - 1, name, corners, place))

    def draft(
        self,
        format: str,
        images: list[str],
        sizes: Sequence,
        shift: Sequence[float] = (0, 0, 0, 0),
        **fields,
    ) -> Draft:
        """A draft of them; ``shift`` is added to corners once they have been checked."""
        sizes = np.array(sizes, float).reshape(-1, 2)
        draft = Draft.of_lists(
            self.path, format, images, self.labels, sizes=sizes, present_wins=True, **fields
        )
        if self.boxes:
            index = {name: code for code, name in enumerate(draft.names)}
            rows = np.array([row for row, *_ in self.boxes], np.int64)
            corners = np.array([box for _, _, box, _ in self.boxes], float).reshape(-1, 4)
            places = [place for *_, place in self.boxes]
            check_boxes(self.path, corners, sizes[rows], 'xmin, ymin, xmax, ymax', places.__getitem__)
            codes = np.array([index[name] for _, name, *_ in self.boxes], np.int64)
            draft.boxes = LabelBoxes(rows, codes, corners + np.array(shift, float))
        else:
            draft.boxes = LabelBoxes(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)))
        return draft


def sizes_of(table: LabelTable, path: str, sizes: np.ndarray | None) -> np.ndarray:
    """Width and height of each picture, (N, 2), given or of the table.

    Raises:
        UserError: If one is not known.
    """
    known = table.columns.sizes if sizes is None else np.asarray(sizes, float)
    unknown = np.arange(len(table)) if known is None else np.flatnonzero(np.isnan(known).any(1))
    if len(unknown):
        raise UserError(
            f'{path}: the format says width and height, and of {len(unknown)} pictures they are not known, first '
            f'{table.columns.images[int(unknown[0])]}: name the folder with the pictures'
        )
    return known


def only_present(table: LabelTable, path: str, format: str, also_unknown: bool = False) -> None:
    """Raises ``UserError`` for labels that a format can not say, which names the present classes alone."""
    columns = table.columns
    lost = columns.values == (-1 if table.closed else 0)
    if also_unknown and table.closed:
        return
    if lost.any():
        what = 'unknown' if table.closed else 'known to be absent'
        first = columns.images[int(columns.rows[np.flatnonzero(lost)[0]])]
        raise UserError(
            f'{path}: {format} can not say that a class is {what}, which {int(lost.sum())} labels are, first of '
            f'{first}: write csv-onehot, json, jsonl or coco'
        )


def whole(value: float) -> int | float:
    """A number without a needless fraction."""
    return int(value) if value == int(value) else float(value)


def plain(value: float) -> str:
    """The text of :func:`whole`."""
    return repr(whole(value))

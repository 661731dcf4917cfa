"""The text files of CUB-200-2011, whose layout NABirds shares: a line for each picture that starts with its id.

The boxes are in pixels but no file says how large a picture is. So :func:`add_relative_box` reads the size from the
header of the picture when an item is asked for, where training reads the same file next: no wait at the start, and
every worker process looks at its own pictures only. A few dozen are looked at while loading, to see what the numbers
of a box mean.

Whatever is wrong with a file is a ``UserError`` that names file, line and what to mend.
"""

import math
import os
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

import numpy as np
from mmengine.fileio import get_file_backend, join_path
from PIL import Image

from mmlattn.utils.errors import UserError

from .annotation_files import check_images, check_labels, read_text, refuse, relative_boxes, warn
from .box_conventions import check_boxes, reaches_beyond

# Data sets whose first box that reaches beyond its picture was logged.
_SAID: set[str] = set()


class Table:
    """A text file ``name`` below ``root`` with one line for each id, read and checked.

    Dashes in ids do not count, nor do blank lines and blanks at the ends of a line.

    ``rows`` holds what follows an id, by id. ``columns`` say what a line holds, for messages; the last one may have
    spaces.
    """

    def __init__(self, root: str, name: str, *columns: str) -> None:
        self.path = join_path(root, name)
        self.rows: dict[str, list[str]] = {}
        self._lines: dict[str, int] = {}
        mend = 'set data_root of the data set to the unpacked archive, or unpack it again'
        for number, line in enumerate(map(str.strip, read_text(self.path, mend).splitlines()), start=1):
            if not line:
                continue
            reject = partial(refuse, self.path, f'line {number}')
            key, *values = line.split(maxsplit=len(columns) - 1)
            key = key.replace('-', '')
            if len(values) != len(columns) - 1:
                reject(f'expected {", ".join(columns)}, got {line!r}: the file is damaged, unpack it again')
            if key in self.rows:
                reject(f'id {key} is already in line {self._lines[key]}: remove one of them')
            self.rows[key], self._lines[key] = values, number

    def refuse(self, key: str, problem: str) -> NoReturn:
        """Refuse the line of an id."""
        refuse(self.path, f'line {self._lines[key]}', f'{problem}: mend the line, or unpack the file again')

    def check_ids(self, other: 'Table') -> None:
        """See that ``other`` has the same ids; names the first one that differs."""
        for table, against in ((self, other), (other, self)):
            for key, line in table._lines.items():
                if key not in against.rows:
                    problem = f'id {key} is not in {against.path}: take both files from the same download'
                    refuse(table.path, f'line {line}', problem)

    def whole_number(self, key: str, allowed: Container[int], expected: str) -> int:
        """The value of an id as one of the whole numbers ``allowed``."""
        text = self.rows[key][0]
        if not text.isascii() or not text.isdigit() or int(text) not in allowed:
            self.refuse(key, f'expected {expected}, got {text!r}')
        return int(text)

    def box(self, key: str) -> tuple[float, ...]:
        """X, y, width and height of an id as xyxy."""
        text = ' '.join(self.rows[key])
        try:
            x, y, width, height = map(float, text.split())
        except ValueError:
            x = y = width = height = math.nan
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) <= 0:
            self.refuse(key, f'expected x, y, width and height, both above 0, got {text!r}')
        return x, y, x + width, y + height


def read_pictures(
    root: str, class_ids: Container[int], classes: str, with_boxes: bool
) -> list[tuple[int, bool, dict]]:
    """Read and check what the files say of every picture, in the order of ``images.txt``.

    ``class_ids`` are the classes there are; ``classes`` says the same in words, for messages. Of each picture come
    its class id, whether it is for training, and its item: ``img_path``, and ``pixel_box`` (xyxy, from 0) if read.
    """
    files = Table(root, 'images.txt', 'image id', 'file')
    labels = Table(root, 'image_class_labels.txt', 'image id', 'class number')
    splits = Table(root, 'train_test_split.txt', 'image id', '1 for training or 0')
    tables = [labels, splits]
    if with_boxes:
        boxes = Table(root, 'bounding_boxes.txt', 'image id', 'x', 'y', 'width', 'height')
        tables.append(boxes)
    for table in tables:
        files.check_ids(table)
    pictures = []
    for key, (file,) in files.rows.items():
        class_id = labels.whole_number(key, class_ids, f'a class number, {classes}')
        in_train = splits.whole_number(key, (0, 1), '1 for training or 0 for test') == 1
        item = dict(img_path=join_path(root, 'images', file))
        if with_boxes:
            item['pixel_box'] = boxes.box(key)
        pictures.append((class_id, in_train, item))
    return pictures


def split_items(
    pictures: list[tuple[int, bool, dict]],
    split: str,
    labels: Mapping[int, int],
    classes: Sequence[str],
    ann_file: str,
) -> list[dict]:
    """The items of a split with ``gt_label``, from ``labels`` by class id; messages name ``ann_file``.

    ``classes`` are the names of the labels.
    """
    items = [
        dict(item, gt_label=labels[class_id])
        for class_id, in_train, item in pictures
        if in_train == (split == 'train')
    ]
    if not items:
        raise UserError(
            f'{ann_file}: none of its {len(pictures)} images is in split {split!r}: unpack the data again'
        )
    check_images(items, ann_file)
    _check_some_boxes(items)
    check_labels(items, classes, f'{ann_file}, split {split!r}', training=split == 'train')
    return items


def _check_some_boxes(items: list[dict]) -> None:
    """See in a few dozen pictures whether the boxes are in the layout expected."""
    some = [item for item in items[:: math.ceil(len(items) / 50)] if 'pixel_box' in item]
    sizes = {}
    for number, item in enumerate(some):
        # A picture that can not be read is found out when it is asked for.
        with suppress(UserError):
            sizes[number] = _picture_size(item['img_path'])
    boxes = np.array([some[number]['pixel_box'] for number in sizes], float).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    paths = [(some[number]['img_path'], 'bounding_boxes.txt') for number in sizes]
    layout = 'x, y, width, height'
    check_boxes('', boxes, list(sizes.values()), layout, paths.__getitem__, only_layout=True)


def _picture_size(path: str) -> tuple[int, int]:
    """Width and height of a picture."""
    backend = get_file_backend(path, enable_singleton=True)
    try:
        # PIL reads no more than the header.
        with backend.get_local_path(path) as local, Image.open(local) as picture:
            return picture.size
    except OSError as error:
        raise UserError(f'{path}: no picture that can be opened ({error}): unpack it again') from error


def add_relative_box(item: dict) -> dict:
    """Replace the ``pixel_box`` of an item, if it has one, and see that it lies in the picture.

    In its place come ``width`` and ``height`` of the picture, ``gt_boxes`` (1, 4) float32 xyxy in [0, 1] of it (what
    lies outside is cut off) and ``gt_box_labels`` (1,) int64, the picture's class; nothing, and a line in the log, if
    the picture can not be opened.
    """
    if 'pixel_box' not in item:
        return item
    path, box = item['img_path'], item.pop('pixel_box')
    try:
        width, height = _picture_size(path)
    except UserError as error:
        # Whoever loads it stumbles too, and is told what to do about pictures that can not be read.
        warn(path, f'its box is left out: {error}')
        return item
    boxes = relative_boxes([box], width, height)
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise UserError(
            f'{path}: is {width} x {height} pixels but its box runs from {list(box[:2])} to {list(box[2:])}: '
            'picture and box are not of the same download'
        )
    root = os.path.dirname(os.path.dirname(path))
    if reaches_beyond(box, (width, height)) and root not in _SAID:
        _SAID.add(root)
        runs = f'its box runs from {list(box[:2])} to {list(box[2:])}, beyond the {width} x {height} pixels'
        warn(path, f'{runs} of the picture, and is cut off there; no other picture of {root} is named')
    labels = np.array([item['gt_label']], np.int64)
    return item | dict(width=width, height=height, gt_boxes=boxes, gt_box_labels=labels)

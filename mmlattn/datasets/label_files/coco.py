"""COCO's ``instances`` json as label table, and a label table as that.

Two lists in an entry of ``images`` say what annotations can not: ``neg_category_ids``, as in LVIS, has the classes
known to be absent, and ``unknown_category_ids`` those that nobody looked for. ``split`` and ``group`` may stand there
too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmlattn.utils.json_files import to_json

from ..annotation_files import check_sections, read_json, refuse
from ..box_conventions import check_boxes
from ..coco_json import read_annotations, read_categories, read_images
from .assembly import Draft, split_and_group
from .boxed import sizes_of, whole
from .records import LabelBoxes, LabelTable

SECTIONS = dict(images=list, annotations=list, categories=list)
_LISTS = {'neg_category_ids': 0, 'unknown_category_ids': -1}


def read_coco(path: str, classes: Sequence[str] | None = None, content: dict | None = None) -> Draft:
    """Read the json; an annotation of a crowd says that its class is present."""
    content = check_sections(path, read_json(path) if content is None else content, SECTIONS)
    categories = read_categories(path, content['categories'])
    images = read_images(path, content['images'])
    found = read_annotations(path, content['annotations'], images, categories.values())
    entries = list(images.values())
    where = 'images[{}]'.format
    sizes = np.array([(entry['width'], entry['height']) for entry in entries], float).reshape(-1, 2)
    boxed = np.flatnonzero(found.boxed)
    xywh = found.boxes[boxed]
    check_boxes(
        path,
        xywh,
        sizes[found.image[boxed]],
        'x, y, width, height',
        lambda index: (path, f'annotations[{boxed[index]}]'),
    )
    order = np.argsort(found.image, kind='stable')
    rows, codes, values = found.image[order], found.category[order], np.ones(len(order), np.int8)
    more = _listed(path, entries, {key: code for code, key in enumerate(categories.values())})
    if len(more):
        rows, codes, values = np.r_[rows, more[:, 0]], np.r_[codes, more[:, 1]], np.r_[values, more[:, 2]]
        order = np.argsort(rows, kind='stable')
        rows, codes, values = rows[order], codes[order], values[order]
    order = np.argsort(found.image[boxed], kind='stable')
    corners = np.hstack((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]))[order]
    return Draft(
        path,
        'coco',
        [entry['file_name'] for entry in entries],
        rows,
        codes,
        values,
        list(categories),
        where,
        declared=sorted(categories, key=categories.get),
        closed=not any('neg_category_ids' in entry for entry in entries),
        **split_and_group(path, entries, where),
        sizes=sizes,
        boxes=LabelBoxes(found.image[boxed][order], found.category[boxed][order], corners),
    )


def _listed(path: str, entries: list[dict], codes: dict[int, int]) -> np.ndarray:
    """(image, category, value) of what the lists in ``images`` say."""
    said = []
    for number, entry in enumerate(entries):
        for key, value in _LISTS.items():
            if key not in entry:
                continue
            listed = entry[key]
            if not isinstance(listed, list) or any(
                type(one) is not int or one not in codes for one in listed
            ):
                refuse(
                    path,
                    f'images[{number}]',
                    f'{key} must be a list of ids of categories, got {listed!r:.80}',
                )
            said += [(number, codes[one], value) for one in listed]
    return np.array(said, np.int64).reshape(-1, 3)


def write_coco(table: LabelTable, path: str, sizes: np.ndarray | None = None) -> None:
    """Write the json."""
    columns, sizes = table.columns, sizes_of(table, path, sizes)
    ids = {name: number for number, name in enumerate(table.classes, start=1)}
    images = []
    for number, record in enumerate(columns):
        width, height = map(whole, sizes[number].tolist())
        entry = dict(id=number + 1, file_name=record.image, width=width, height=height)
        for key, value in _LISTS.items():
            listed = [ids[name] for name, said in record.labels.items() if said == value]
            if (value == 0 and not table.closed) or (value == -1 and table.closed and listed):
                entry[key] = listed
        images.append(entry | record.parts)
    content = dict(
        images=images,
        annotations=_annotations(table),
        categories=[dict(id=number, name=name) for name, number in ids.items()],
    )
    with Path(path).open('x', encoding='utf-8') as file:
        file.write(to_json(content))


def _annotations(table: LabelTable) -> list[dict]:
    """An annotation for each box, and one without for each present class that has none."""
    annotations, columns = [], table.columns
    boxed = set()
    if columns.boxes is not None:
        boxes = columns.boxes
        for row, column, (left, top, right, bottom) in zip(
            boxes.rows.tolist(), boxes.columns.tolist(), boxes.corners.tolist(), strict=True
        ):
            boxed.add((row, column))
            width, height = right - left, bottom - top
            annotations.append(
                dict(
                    image_id=row + 1,
                    category_id=column + 1,
                    bbox=[left, top, width, height],
                    area=width * height,
                    iscrowd=0,
                )
            )
    for row, column, value in zip(
        columns.rows.tolist(), columns.columns.tolist(), columns.values.tolist(), strict=True
    ):
        if value == 1 and (row, column) not in boxed:
            annotations.append(dict(image_id=row + 1, category_id=column + 1, iscrowd=0))
    return [dict(id=number, **annotation) for number, annotation in enumerate(annotations, start=1)]

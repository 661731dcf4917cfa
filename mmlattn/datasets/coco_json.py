"""The sections of COCO's ``instances`` json, checked and brought into columns.

A file with a million annotations is looked at column by column; only where that finds something odd is it read entry
by entry, to name the first that is wrong. N is the number of images, M that of annotations.
"""

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from .annotation_files import is_number, is_whole, json_entries

_IMAGE_KEYS = ('id', 'file_name', 'width', 'height')


@dataclass(frozen=True)
class CocoAnnotations:
    """Annotations as columns, in the order of the file.

    Args:
        image (np.ndarray): Shape (M,), which of the images.
        category (np.ndarray): Shape (M,), which of the categories, counted from 0 in the order they were given.
        crowd (np.ndarray): Shape (M,), bool.
        boxed (np.ndarray): Shape (M,), bool, whether it has a box.
        boxes (np.ndarray): Shape (M, 4), x, y, width, height in pixels; NaN without a box.
    """

    image: np.ndarray
    category: np.ndarray
    crowd: np.ndarray
    boxed: np.ndarray
    boxes: np.ndarray


def read_categories(ann_file: str, categories: Sequence) -> dict[str, int]:
    """Id of each category by name, in the order of the file; blanks around a name do not count."""
    ids: dict[str, int] = {}
    for category, reject in json_entries(ann_file, 'categories', categories, ('id', 'name')):
        category_id, name = category['id'], category['name']
        if not is_whole(category_id):
            reject(f'id must be a whole number, got {category_id!r}')
        if category_id in ids.values():
            reject(f'id {category_id} is there twice')
        if not isinstance(name, str):
            reject(f'name must be a string, got {name!r}')
        if not name.strip():
            reject('name is blank')
        name = name.strip()
        if name in ids:
            reject(f'the name {name!r} is there twice')
        ids[name] = category_id
    return ids


def read_images(ann_file: str, images: Sequence) -> dict[int | str, dict]:
    """Images by id, in the order of the file."""
    columns = _columns(images, _IMAGE_KEYS)
    if columns is None or not _sound_images(*columns):
        _check_images(ann_file, images)
        columns = _columns(images, _IMAGE_KEYS)
    return dict(zip(columns[0], images, strict=True)) if images else {}


def read_annotations(
    ann_file: str, annotations: Sequence, images: Mapping, categories: Collection[int]
) -> CocoAnnotations:
    """Annotations of the ``images`` by id (N of them) and of the category ids, checked."""
    place, kinds = ({key: number for number, key in enumerate(keys)} for keys in (images, categories))
    if not _sound_annotations(annotations, place, categories):
        _check_annotations(ann_file, annotations, images, categories)
    boxes = [annotation.get('bbox') for annotation in annotations]
    boxed = np.array([box is not None for box in boxes], bool)
    numbers = np.full((len(boxes), 4), math.nan)
    numbers[boxed] = np.array([box for box in boxes if box is not None], float).reshape(-1, 4)
    return CocoAnnotations(
        np.array([place[annotation['image_id']] for annotation in annotations], np.int64),
        np.array([kinds[annotation['category_id']] for annotation in annotations], np.int64),
        np.array([bool(annotation.get('iscrowd')) for annotation in annotations], bool),
        boxed,
        numbers,
    )


def _columns(entries: Sequence, keys: Sequence[str]) -> list[list] | None:
    """The values of each key, or None unless all entries are objects with all keys."""
    try:
        return [[entry[key] for entry in entries] for key in keys]
    except (KeyError, TypeError, IndexError):
        return None


def _types(values: Sequence) -> set[type]:
    return set(map(type, values))


def _sound_images(ids: list, names: list, widths: list, heights: list) -> bool:
    """Whether nothing is wrong with images, at a glance."""
    sides = widths + heights
    return (
        _types(ids) <= {int, str}
        and len(set(ids)) == len(ids)
        and _types(names) <= {str}
        and len(set(map(os.path.normpath, names))) == len(names)
        and _types(sides) <= {int, float}
        and all(0 < side < 1e15 for side in sides)
    )


def _check_images(ann_file: str, images: Sequence) -> None:
    ids: set[int | str] = set()
    files: set[str] = set()
    for image, reject in json_entries(ann_file, 'images', images, _IMAGE_KEYS):
        image_id, name, width, height = (image[key] for key in _IMAGE_KEYS)
        if not is_whole(image_id) and not isinstance(image_id, str):
            reject(f'id must be a whole number or a string, got {image_id!r}')
        if image_id in ids:
            reject(f'id {image_id!r} is there twice')
        if not isinstance(name, str):
            reject(f'file_name must be a string, got {name!r}')
        if os.path.normpath(name) in files:
            reject(f'the file {name} is there twice')
        if not all(is_number(side) and side > 0 for side in (width, height)):
            reject(f'width and height must be above 0, got {width!r} and {height!r}')
        ids.add(image_id)
        files.add(os.path.normpath(name))


def _sound_annotations(annotations: Sequence, place: Mapping, categories: Collection[int]) -> bool:
    """Whether nothing is wrong with annotations, at a glance."""
    columns = _columns(annotations, ('image_id', 'category_id'))
    if columns is None or not _types(annotations) <= {dict}:
        return False
    image_ids, category_ids = columns
    ids = [value for annotation in annotations if (value := annotation.get('id')) is not None]
    crowds = [annotation.get('iscrowd') for annotation in annotations]
    boxes = [box for annotation in annotations if (box := annotation.get('bbox')) is not None]
    return (
        _types(image_ids) <= {int, str}
        and place.keys() >= set(image_ids)
        and _types(category_ids) <= {int}
        and set(category_ids) <= set(categories)
        and _types(ids) <= {int, str}
        and len(set(ids)) == len(ids)
        and _types(crowds) <= {int, bool, type(None)}
        and set(crowds) <= {0, 1, None}
        and _sound_boxes(boxes)
    )


def _sound_boxes(boxes: list) -> bool:
    if not (_types(boxes) <= {list} and set(map(len, boxes)) <= {4}):
        return False
    numbers = list(chain.from_iterable(boxes))
    if not _types(numbers) <= {int, float}:
        return False
    try:
        numbers = np.array(numbers, float).reshape(-1, 4)
    except OverflowError:  # a whole number that no float holds
        return False
    return bool(np.isfinite(numbers).all() and (numbers[:, 2:] >= 0).all())


def _check_annotations(
    ann_file: str, annotations: Sequence, images: Mapping, categories: Collection[int]
) -> None:
    ids: set[int | str] = set()
    keys = ('image_id', 'category_id')
    for annotation, reject in json_entries(ann_file, 'annotations', annotations, keys):
        image_id, category_id = (annotation[key] for key in keys)
        annotation_id, crowd, box = (annotation.get(key) for key in ('id', 'iscrowd', 'bbox'))
        if not is_whole(category_id):
            reject(f'category_id must be a whole number, got {category_id!r}')
        if category_id not in categories:
            reject(f'category_id {category_id} is not among categories: add it there or mend the entry')
        if not (is_whole(image_id) or isinstance(image_id, str)) or image_id not in images:
            reject(f'image_id {image_id!r} is not among images: add it there or drop the entry')
        if not isinstance(annotation_id, str | None) and not is_whole(annotation_id):
            reject(f'id must be a whole number or a string, got {annotation_id!r}')
        if annotation_id is not None and annotation_id in ids:
            reject(f'id {annotation_id!r} is there twice')
        if not isinstance(crowd, int | None) or crowd not in (0, 1, None):
            reject(f'iscrowd must be 0, 1, true, false or null, got {crowd!r}')
        if box is not None and not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            reject(f'bbox must be [x, y, width, height] in pixels, got {box!r}')
        if box is not None and min(box[2:]) < 0:
            reject(f'width and height of bbox must not be negative, got {box!r}: it is xywh, not xyxy')
        ids.add(annotation_id)

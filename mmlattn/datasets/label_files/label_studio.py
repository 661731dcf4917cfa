"""Exports of Label Studio, json and json-min: choices, and labels of rectangles and other regions.

Regions are in per cent of the picture. Several annotations of a picture must agree.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from mmlattn.utils.json_files import to_json

from ..annotation_files import is_number, read_json, refuse, some
from ..picture_names import is_picture
from .assembly import Draft, split_and_group
from .boxed import Objects, only_present, sizes_of, whole
from .records import LabelTable

_META = {
    'id', 'annotator', 'annotation_id', 'created_at', 'updated_at', 'lead_time', 'split', 'group', 'agreement',
    'sentiment_agreement',
}  # fmt: skip
_UPLOAD = re.compile(r'/?data/upload/(?:\d+/)?')


def read_label_studio(
    path: str,
    classes: Sequence[str] | None = None,
    content: list | None = None,
    image_key: str | None = None,
    strip_upload_prefix: bool = False,
) -> Draft:
    """Read an export.

    Args:
        path (str): The json.
        classes (Sequence[str], optional): Not needed.
        content (list, optional): What is in the json.
        image_key (str, optional): The key of a task's data that is the picture. Defaults to ``image``, or the one
            whose value looks like a picture.
        strip_upload_prefix (bool): Whether to take off the eight digits that Label Studio puts before the names of
            uploaded files (``1a2b3c4d-cat.jpg``).
    """
    content = read_json(path) if content is None else content
    if not isinstance(content, list):
        refuse(path, 'the whole', f'must be a list of tasks, got a {type(content).__name__}')
    objects, images, sizes, about = Objects(path), [], [], []
    where = 'task [{}]'.format
    for number, task in enumerate(content):
        reject = partial(refuse, path, where(number))
        if not isinstance(task, dict):
            reject(f'must be an object, got {task!r:.80}')
        is_whole = 'annotations' in task or 'data' in task
        data = task.get('data', {}) if is_whole else task
        if not isinstance(data, dict):
            reject(f'data must be an object, got {data!r:.80}')
        key, image = _picture(data, image_key, reject)
        images.append(_plain_path(image, strip_upload_prefix))
        objects.labels.append({})
        results = _results(task, reject) if is_whole else _min_results(task, key, reject)
        sizes.append(_read(results, objects, (path, where(number)), reject))
        about.append(data)
    return objects.draft(
        'label-studio',
        images,
        sizes,
        where=where,
        **split_and_group(path, about, where),
    )


def _picture(data: dict, image_key: str | None, reject: Callable) -> tuple[str, str]:
    if image_key is None and isinstance(data.get('image'), str):
        image_key = 'image'
    if image_key is None:
        looks = [key for key, value in data.items() if isinstance(value, str) and is_picture(value)]
        if len(looks) != 1:
            reject(f'which of {some(list(data)) or "nothing"} is the picture? say image_key')
        image_key = looks[0]
    if not isinstance(data.get(image_key), str):
        reject(f'{image_key} must be the path of a picture, got {data.get(image_key)!r:.80}')
    return image_key, data[image_key]


def _plain_path(image: str, strip: bool) -> str:
    if '?d=' in image:
        return unquote(image.partition('?d=')[2])
    uploaded = _UPLOAD.match(image)
    if not uploaded:
        return image
    name = unquote(image[uploaded.end() :])
    return re.sub(r'^[0-9a-f]{8}-', '', name) if strip else name


def _results(task: dict, reject: Callable) -> list[dict]:
    """The regions and choices of a task, which all its annotations have alike."""
    annotations = task.get('annotations')
    if not isinstance(annotations, list) or not all(isinstance(one, dict) for one in annotations):
        reject(f'annotations must be a list of objects, got {annotations!r:.80}')
    valid = [one for one in annotations if not one.get('was_cancelled')]
    if not valid:
        reject('has no annotation: annotate it, or filter the export by annotated tasks')
    for one in valid:
        results = one.get('result')
        if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
            reject(f'result must be a list of objects, got {results!r:.80}')
    sets = [{name for each in one['result'] for name in _names(each, reject)} for one in valid]
    odd = next((found for found in sets if found != sets[0]), None)
    if odd is not None:
        reject(f'its annotations differ in {some(sorted(odd ^ sets[0]))}: keep one of them')
    return valid[0]['result']


def _min_results(task: dict, image_key: str, reject: Callable) -> list[dict]:
    """The same of a task in json-min, where keys are what the project called its controls."""
    results = []
    for key, value in task.items():
        if key in _META or key == image_key:
            continue
        if isinstance(value, str):
            results.append(dict(type='choices', value=dict(choices=[value])))
        elif isinstance(value, dict) and 'choices' in value:
            results.append(dict(type='choices', value=value))
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            for one in value:
                kind = next((name for name in one if name.endswith('labels')), 'labels')
                results.append({**one, 'type': kind, 'value': one})
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            results.append(dict(type='choices', value=dict(choices=value)))
        elif value is not None and not is_number(value):
            reject(f'{key} must be a choice, a list of choices or a list of regions, got {value!r:.80}')
    return results


def _names(result: dict, reject: Callable) -> list[str]:
    """The labels of a region or the choices; none of results of another kind, such as texts."""
    kind, value = result.get('type'), result.get('value')
    if not isinstance(kind, str) or not (kind == 'choices' or kind.endswith('labels')):
        return []
    if not isinstance(value, dict):
        reject(f'the value of {kind} must be an object, got {value!r:.80}')
    names = value.get(kind, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        reject(f'{kind} must be a list of names, got {names!r:.80}')
    return [name.strip() for name in names]


def _read(
    results: list[dict], objects: Objects, place: tuple[str, str], reject: Callable
) -> tuple[float, float]:
    """Add the labels and boxes of a picture; returns its size, NaN where that is not said."""
    size = (math.nan, math.nan)
    for result in results:
        names = _names(result, reject)
        for name in names:
            objects.say(name)
        if result.get('type') not in ('rectanglelabels', 'polygonlabels') or not names:
            continue
        size = tuple(result.get(key) for key in ('original_width', 'original_height'))
        if not all(is_number(side) and side > 0 for side in size):
            reject(f'original_width and original_height must be above 0, got {size}: export it as json')
        corners = _corners(result['value'], size, reject)
        for name in names:
            objects.add_box(name, corners, place)
    return size


def _corners(value: dict, size: tuple[float, float], reject: Callable) -> list[float]:
    """Edges in pixels of a region, which may be turned about its left upper corner."""
    scale = np.array(size, float) / 100
    if 'points' in value:
        points = value['points']
        sound = (
            isinstance(points, list)
            and points
            and all(
                isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points
            )
        )
        if not sound:
            reject(f'points must be a list of [x, y] in per cent, got {points!r:.80}')
        corners = np.array(points, float) * scale
    else:
        numbers = [
            value.get(key, 0 if key == 'rotation' else None)
            for key in ('x', 'y', 'width', 'height', 'rotation')
        ]
        if not all(map(is_number, numbers)) or min(numbers[2:4]) < 0:
            reject(f'a rectangle must have x, y, width and height in per cent, got {numbers[:4]}')
        x, y, width, height, turn = numbers
        if not turn:
            return [
                *(np.array((x, y)) * scale).tolist(),
                *(np.array((x + width, y + height)) * scale).tolist(),
            ]
        turn = math.radians(turn)
        across = np.array((math.cos(turn), math.sin(turn))) * width * scale[0]
        down = np.array((-math.sin(turn), math.cos(turn))) * height * scale[1]
        corners = np.array((x, y)) * scale + np.array((0 * across, across, down, across + down))
    return [*corners.min(0).tolist(), *corners.max(0).tolist()]


def write_label_studio(table: LabelTable, path: str, sizes: np.ndarray | None = None) -> None:
    """Write tasks with choices, and rectangles where the table has boxes."""
    only_present(table, path, 'label-studio')
    boxed = table.columns.boxes is not None and len(table.columns.boxes.rows)
    sizes = sizes_of(table, path, sizes) if boxed else np.full((len(table), 2), math.nan)
    tasks = []
    for number, (record, size) in enumerate(zip(table.records, sizes.tolist(), strict=True), start=1):
        choices = record.present
        results = [_result('choice', 'choices', dict(choices=choices))] if choices else []
        for name, corners in record.boxes or ():
            left, top, right, bottom = (
                100 * edge / side for edge, side in zip(corners, [*size, *size], strict=True)
            )
            value = dict(
                x=left, y=top, width=right - left, height=bottom - top, rotation=0, rectanglelabels=[name]
            )
            sides = dict(original_width=whole(size[0]), original_height=whole(size[1]), image_rotation=0)
            results.append(_result('label', 'rectanglelabels', value) | sides)
        data = dict(image=record.image) | record.parts
        tasks.append(dict(id=number, data=data, annotations=[dict(result=results, was_cancelled=False)]))
    with Path(path).open('x', encoding='utf-8') as file:
        file.write(to_json(tasks))


def _result(name: str, kind: str, value: dict) -> dict:
    return dict(from_name=name, to_name='image', type=kind, value=value)

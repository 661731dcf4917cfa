"""CVAT's "CVAT for images 1.1" xml: tags, boxes and other shapes of each picture.

Its COCO and VOC exports are read as such.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from xml.etree import ElementTree

import numpy as np

from ..annotation_files import refuse
from ..voc_xml import read_number, read_xml
from .assembly import Draft
from .boxed import Objects, only_present, plain, sizes_of
from .records import LabelTable

_SHAPES = ('box', 'polygon', 'mask', 'polyline', 'points', 'ellipse', 'cuboid', 'skeleton')
_EDGES = ('xtl', 'ytl', 'xbr', 'ybr')


def read_cvat(path: str, classes: Sequence[str] | None = None) -> Draft:
    """Read the xml; boxes, polygons and masks give a label and a box, other shapes and tags a label."""
    root = read_xml(path)
    if root.tag != 'annotations':
        refuse(
            path,
            f'element {root.tag}',
            'expected annotations of CVAT; for files of VOC name their folder',
        )
    if root.find('track') is not None:
        refuse(path, 'element track', 'is of a video: export it again as "CVAT for images 1.1"')
    objects, images, sizes, subsets = Objects(path), [], [], []
    for count, entry in enumerate(root.findall('image')):
        reject = partial(refuse, path, f'image {count} ({entry.get("name")})')
        name = entry.get('name')
        if not name:
            reject('name is missing')
        sides = tuple(read_number(entry.get(key), key, reject) for key in ('width', 'height'))
        if min(sides) <= 0:
            reject(f'width and height must be above 0, got {sides[0]:g} and {sides[1]:g}')
        images.append(name)
        sizes.append(sides)
        subsets.append((entry.get('subset') or '').strip() or None)
        objects.labels.append({})
        for shape in entry:
            _read_shape(shape, objects, (path, f'image {count} ({name})'), reject)
    declared = [(label.findtext('name') or '').strip() for label in root.iterfind('meta//label')]
    declared = list(dict.fromkeys(name for name in declared if name))
    return objects.draft(
        'cvat',
        images,
        sizes,
        where=lambda entry: f'image {entry} ({images[entry]})',
        declared=declared or None,
        splits=subsets if len(set(subsets) - {None, 'default'}) else None,
    )


def _read_shape(
    shape: ElementTree.Element, objects: Objects, place: tuple[str, str], reject: Callable
) -> None:
    if shape.tag != 'tag' and shape.tag not in _SHAPES:
        reject(
            f'has an element {shape.tag}, expected tag, {", ".join(_SHAPES)}: export it as "CVAT for images 1.1"'
        )
    label = (shape.get('label') or '').strip()
    if not label:
        reject(f'a {shape.tag} has no label')
    objects.say(label)
    corners = _corners(shape, reject)
    if corners is not None:
        objects.add_box(label, corners, place)


def _corners(shape: ElementTree.Element, reject: Callable) -> list[float] | None:
    if shape.tag == 'box':
        left, top, right, bottom = (read_number(shape.get(key), key, reject) for key in _EDGES)
        turn = math.radians(read_number(shape.get('rotation', '0'), 'rotation', reject))
        if not turn:
            return [left, top, right, bottom]
        # About its center.
        x, y, width, height = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        across = abs(width * math.cos(turn)) + abs(height * math.sin(turn))
        down = abs(width * math.sin(turn)) + abs(height * math.cos(turn))
        return [x - across / 2, y - down / 2, x + across / 2, y + down / 2]
    if shape.tag == 'mask':
        left, top, width, height = (
            read_number(shape.get(key), key, reject) for key in ('left', 'top', 'width', 'height')
        )
        return [left, top, left + width, top + height]
    if shape.tag == 'polygon':
        pairs = [pair.split(',') for pair in (shape.get('points') or '').split(';')]
        if any(len(pair) != 2 for pair in pairs):
            reject(f'points of a polygon must be x,y;x,y;..., got {shape.get("points")!r:.80}')
        points = np.array([[read_number(text, 'points', reject) for text in pair] for pair in pairs])
        return [*points.min(0).tolist(), *points.max(0).tolist()]
    return None


def write_cvat(table: LabelTable, path: str, sizes: np.ndarray | None = None) -> None:
    """Write the xml: a box for each box, and a tag for each present class that has none."""
    only_present(table, path, 'cvat')
    sizes = sizes_of(table, path, sizes)
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task'), 'labels'
    )
    for name in table.classes:
        ElementTree.SubElement(ElementTree.SubElement(labels, 'label'), 'name').text = name
    for count, (record, size) in enumerate(zip(table.records, sizes.tolist(), strict=True)):
        width, height = map(plain, size)
        about = dict(id=str(count), name=record.image, width=width, height=height)
        entry = ElementTree.SubElement(
            root, 'image', about | ({'subset': record.split} if record.split else {})
        )
        boxes = record.boxes or ()
        for name, corners in boxes:
            edges = dict(zip(_EDGES, map(plain, corners), strict=True))
            ElementTree.SubElement(entry, 'box', dict(label=name, source='manual', occluded='0') | edges)
        boxed = {name for name, _ in boxes}
        for name in record.present:
            if name not in boxed:
                ElementTree.SubElement(entry, 'tag', dict(label=name, source='manual'))
    with open(path, 'xb') as file:
        ElementTree.ElementTree(root).write(file, encoding='utf-8', xml_declaration=True)

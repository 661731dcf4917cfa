"""The xml in which PASCAL VOC, and others since, describe a picture and the objects in it.

Whatever is wrong with a file is a ``UserError`` that names file, entry and what to mend.
"""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

from mmlattn.utils.errors import UserError

from .annotation_files import read_bytes, refuse


def read_xml(path: str) -> ElementTree.Element:
    """Read the annotation of a picture."""
    mend = 'finish the download (VOC has a test set with annotations and one without), or set data_root'
    try:
        return ElementTree.fromstring(read_bytes(path, mend))
    except ElementTree.ParseError as error:
        raise UserError(
            f'{path}: not valid xml ({error}): the file is damaged or only partly downloaded'
        ) from error


def picture_size(root: ElementTree.Element, path: str) -> tuple[float, float]:
    """Width and height that the annotation says, both above 0."""
    width, height = _numbers(root, path, 'the image', 'size', ('width', 'height'))
    if min(width, height) <= 0:
        refuse(path, 'size', f'width and height must be above 0, got {width:g} and {height:g}')
    return width, height


def box_corners(entry: ElementTree.Element, path: str, where: str) -> tuple[float, float, float, float]:
    """Xyxy of an object as they stand in the file."""
    left, top, right, bottom = _numbers(entry, path, where, 'bndbox', ('xmin', 'ymin', 'xmax', 'ymax'))
    if left > right or top > bottom:
        runs = f'runs from {left:g}, {top:g} to {right:g}, {bottom:g}'
        refuse(path, where, f'the box {runs}: min and max are swapped')
    return left, top, right, bottom


def _numbers(
    entry: ElementTree.Element, path: str, where: str, section: str, names: Sequence[str]
) -> list[float]:
    values = []
    for name in names:
        text = entry.findtext(f'{section}/{name}')
        if text is None:
            refuse(path, where, f'{section}/{name} is missing')
        try:
            values.append(float(text))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            refuse(path, where, f'{section}/{name} must be a number, got {text!r}')
    return values

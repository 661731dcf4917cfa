"""The xml in which PASCAL VOC, and others since, describe a picture and the objects in it.

Whatever is wrong with a file is a ``UserError`` that names file, entry and what to mend.
"""

import codecs
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn
from xml.etree import ElementTree

from mmlattn.utils.errors import UserError

from .annotation_files import not_utf8, read_bytes, refuse

_DECLARATION = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*<\?xml[^>]*\bencoding\s*=\s*["\']([A-Za-z0-9._-]+)["\'][^>]*\?>'
)


def read_xml(path: str) -> ElementTree.Element:
    """Read the annotation of a picture."""
    mend = 'finish the download (VOC has a test set with annotations and one without), or set data_root'
    content = read_bytes(path, mend)
    try:
        return ElementTree.fromstring(_decoded(content, path))
    except ElementTree.ParseError as error:
        raise UserError(
            f'{path}: not valid xml ({error}): the file is damaged or only partly downloaded'
        ) from error


def _decoded(content: bytes, path: str) -> str | bytes:
    """The text of an xml in the encoding that it declares, which may be one that the parser does not know."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # The parser reads that by itself.
        return content
    declared = _DECLARATION.match(content)
    name = declared[1].decode('ascii') if declared else 'UTF-8'
    if content.startswith(codecs.BOM_UTF8) or name.upper() in ('UTF-8', 'UTF8'):
        encoding = 'utf-8-sig'
    else:
        # Which holds all of GB2312 and GBK, for which it is often taken.
        encoding = 'gb18030' if name.upper() in ('GB2312', 'GBK') else name
    try:
        text = content.decode(encoding)
    except LookupError as error:
        raise UserError(f'{path}: the encoding {name} is not known: save it as UTF-8') from error
    except UnicodeError as error:
        if encoding != 'utf-8-sig':
            problem = f'not text in {name}, which it declares ({error})'
            raise UserError(f'{path}: {problem}: declare the right encoding, or save it as UTF-8') from error
        raise UserError(
            f'{path}: {not_utf8(content, error)}: save it as UTF-8, or declare the encoding in the first line'
        ) from error
    return text.partition('?>')[2] if declared else text


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
        refuse(path, where, f'the box (xmin, ymin, xmax, ymax) {runs}: min and max are swapped')
    return left, top, right, bottom


def _numbers(
    entry: ElementTree.Element, path: str, where: str, section: str, names: Sequence[str]
) -> list[float]:
    values = []
    for name in names:
        text = entry.findtext(f'{section}/{name}')
        if text is None:
            refuse(path, where, f'{section}/{name} is missing')
        values.append(read_number(text, f'{section}/{name}', partial(refuse, path, where)))
    return values


def read_number(text: str | None, name: str, reject: Callable[[str], NoReturn]) -> float:
    """The finite number that a text is."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        reject(f'{name} must be a number, got {text!r}')
    return value

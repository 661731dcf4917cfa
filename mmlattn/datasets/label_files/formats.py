"""The formats by name, and how to read and write each."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base

from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from ..annotation_files import no_collection, some, tell
from ..checked_settings import read_names
from ..unreadable_pictures import any_size
from .assembly import assemble
from .coco import read_coco, write_coco
from .cvat import read_cvat, write_cvat
from .detection import detect_format
from .folders import read_folders, write_folders
from .json_lines import read_json_lines, write_json_lines
from .label_studio import read_label_studio, write_label_studio
from .openmmlab import read_openmmlab, write_openmmlab
from .records import LabelColumns, LabelTable
from .tables import read_table, write_table
from .text_lists import read_text_list, write_text_list
from .voc import read_voc, write_voc

_ORIENTATION = Base.Orientation.value

_READERS = {
    'csv': read_table,
    **{f'csv-{form}': partial(read_table, form=form) for form in ('onehot', 'names', 'rows')},
    'txt': read_text_list,
    'jsonl': read_json_lines,
    'json': read_openmmlab,
    'coco': read_coco,
    'voc': read_voc,
    'folders': read_folders,
    'label-studio': read_label_studio,
    'cvat': read_cvat,
}
_WRITERS = {
    **{f'csv-{form}': partial(write_table, form=form) for form in ('onehot', 'names', 'rows')},
    'txt': write_text_list,
    'jsonl': write_json_lines,
    'json': write_openmmlab,
    'coco': write_coco,
    'voc': write_voc,
    'folders': write_folders,
    'label-studio': write_label_studio,
    'cvat': write_cvat,
}
_BY_CONTENT = ('json', 'coco', 'label-studio')
_BOXED = ('coco', 'voc', 'label-studio', 'cvat')
_XML = ('voc', 'cvat')
# What else of a table a format says.
_SAYS = {
    **dict.fromkeys(
        ('csv-onehot', 'csv-names', 'csv-rows', 'jsonl', 'json', 'coco', 'label-studio'), ('split', 'group')
    ),
    **dict.fromkeys(('voc', 'folders', 'cvat'), ('split',)),
}
#: What ``read_label_file`` and ``write_label_file`` take.
FORMATS = tuple(_WRITERS)


def read_label_file(
    path: str,
    format: str | None = None,
    classes: Sequence[str] | str | None = None,
    unlisted: str | None = None,
    other_classes: str = 'refuse',
    **options,
) -> LabelTable:
    """Read a label file, or a folder, of any format.

    Args:
        path (str): The file or folder.
        format (str, optional): One of ``FORMATS``, or ``'csv'``. Defaults to what its ending and content tell.
        classes (Sequence[str] | str, optional): See :func:`assemble`; a path is that of a list, one name a line.
        unlisted (str, optional): ``'absent'`` or ``'unknown'``, see :func:`assemble`.
        other_classes (str): ``'refuse'`` or ``'leave_out'``, see :func:`assemble`.
        **options: Of the format, such as :class:`TableOptions` of csv.

    Raises:
        UserError: Naming file, line or entry, and what to mend.
    """
    path = os.fspath(path)
    if unlisted is not None:
        check_choice('unlisted', unlisted, ('absent', 'unknown'))
    check_choice('other_classes', other_classes, ('refuse', 'leave_out'))
    for name in ('separator', 'image_key'):
        if not isinstance(options.get(name), str | None):
            raise UserError(f'{name} must be a text, got {options[name]!r}')
    content = None
    if format is None:
        format, content = detect_format(path)
    check_choice('format', format, _READERS)
    names = read_names(classes)
    given = dict(content=content) if format in _BY_CONTENT else {}
    try:
        with no_collection():
            draft = _READERS[format](path, names, **given, **options)
    except TypeError as error:
        if 'unexpected keyword argument' not in str(error):
            raise
        raise UserError(
            f'{path}: the format {format} does not take all of {some(options)}: leave them out'
        ) from error
    return assemble(draft, names, unlisted, other_classes)


def write_label_file(
    table: LabelTable, path: str, format: str, pictures: str | None = None, sizes: np.ndarray | None = None
) -> None:
    """Write a table as a new file or folder; what else than labels a format can not say is logged.

    Args:
        table (LabelTable): What to write.
        path (str): Must not exist yet.
        format (str): One of ``FORMATS``.
        pictures (str, optional): The folder with the pictures, for the format ``folders``, which copies them, and for
            formats that say the size of pictures where the table does not.
        sizes (np.ndarray, optional): Shape (N, 2), width and height of the pictures, where they are known.

    Raises:
        UserError: If the path exists, or the format can not say of labels what the table says.
    """
    check_choice('format', format, _WRITERS)
    path = os.fspath(path)
    if os.path.lexists(path):
        raise UserError(f'{path} exists already; choose another name')
    columns, options = table.columns, {}
    if not len(columns):
        raise UserError(f'{path}: there is no picture to write')
    if format in _XML:
        _check_xml(path, [*table.classes, *columns.images])
    if format == 'folders':
        options['pictures'] = pictures
    if format in _BOXED:
        options['sizes'] = _known_sizes(columns, pictures) if sizes is None else sizes
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[format](table, path, **options)
    lost = [
        name
        for name in ('split', 'group')
        if getattr(columns, f'{name}s') and name not in _SAYS.get(format, ())
    ]
    if columns.boxes is not None and len(columns.boxes.rows) and format not in _BOXED:
        lost.append('boxes')
    for name in lost:
        tell(path, f'{format} can not say {name}, left out')


def _known_sizes(columns: LabelColumns, pictures: str | None) -> np.ndarray | None:
    """The sizes that the table says, or else those of the pictures."""
    if pictures is None:
        return columns.sizes
    sizes = np.full((len(columns), 2), np.nan) if columns.sizes is None else columns.sizes.copy()
    for number in np.flatnonzero(np.isnan(sizes).any(1)).tolist():
        sizes[number] = _picture_size(os.path.join(pictures, columns.images[number]))
    return sizes


def _picture_size(path: str) -> tuple[int, int]:
    """Width and height as the header of a picture says, turned as its EXIF orientation says."""
    try:
        with any_size(), Image.open(path) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) >= 5
            return picture.size[::-1] if turned else picture.size
    except OSError as error:
        raise UserError(
            f'{path}: its size can not be read ({error}): name the folder with the pictures'
        ) from error


def _check_xml(path: str, texts: Sequence[str]) -> None:
    """See that xml can hold texts."""
    for text in texts:
        if not all(mark.isprintable() or (mark.isspace() and mark >= ' ') for mark in text):
            raise UserError(f'{path}: xml can not hold {text!r}: rename it, or write another format')

"""The formats by name, and how to read and write each."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from ..annotation_files import no_collection, some
from ..checked_settings import read_names
from .assembly import assemble
from .coco import read_coco, write_coco
from .detection import detect_format
from .openmmlab import read_openmmlab, write_openmmlab
from .records import LabelTable
from .tables import read_table, write_table

_READERS = {
    'csv': read_table,
    **{f'csv-{form}': partial(read_table, form=form) for form in ('onehot', 'names', 'rows')},
    'json': read_openmmlab,
    'coco': read_coco,
}
_WRITERS = {
    **{f'csv-{form}': partial(write_table, form=form) for form in ('onehot', 'names', 'rows')},
    'json': write_openmmlab,
    'coco': write_coco,
}
_BY_CONTENT = ('json', 'coco', 'label-studio')
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
    table: LabelTable, path: str, format: str, sizes: np.ndarray | None = None, **options
) -> None:
    """Write a table as a new file or folder.

    Args:
        table (LabelTable): What to write.
        path (str): Must not exist yet.
        format (str): One of ``FORMATS``.
        sizes (np.ndarray, optional): Shape (N, 2), width and height of the pictures, for formats that say them.
            Defaults to those of the table.
        **options: Of the format.

    Raises:
        UserError: If the path exists, or the format can not say what the table says.
    """
    check_choice('format', format, _WRITERS)
    path = os.fspath(path)
    if os.path.lexists(path):
        raise UserError(f'{path} exists already; choose another name')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if format == 'coco':
        options['sizes'] = table.columns.sizes if sizes is None else sizes
    _WRITERS[format](table, path, **options)

"""Which format a file or folder has."""

import os
from pathlib import Path

from mmlattn.utils.errors import UserError

from ..annotation_files import read_json
from ..lookalikes import explain_missing, is_local

_BY_ENDING = {
    'csv': 'csv', 'tsv': 'csv', 'tab': 'csv', 'txt': 'txt', 'lst': 'txt', 'list': 'txt', 'jsonl': 'jsonl',
    'ndjson': 'jsonl', 'xml': 'cvat',
}  # fmt: skip


def detect_format(path: str) -> tuple[str, object]:
    """The format, and the content of a json, which had to be read for that (None for others).

    ``'csv'`` stands for the three forms of csv, which the columns tell apart.

    Raises:
        UserError: If there is no such file, or its format is not known.
    """
    if is_local(path) and Path(path).is_dir():
        return _folder_format(path), None
    if is_local(path) and not os.path.lexists(path):
        mend = (
            explain_missing(path)
            or 'set data_root and ann_file of the data set, or name the file with the labels'
        )
        raise UserError(f'{path or repr(path)}: no such file: {mend}')
    ending = Path(path).suffix.lower().removeprefix('.')
    if ending == 'json':
        return _json_format(path)
    if ending not in _BY_ENDING:
        raise UserError(
            f'{path}: its format can not be told from the ending {ending or "(none)"!r}: expected csv, tsv, txt, '
            'jsonl, json, xml or a folder; say format, or save it as one of these (Excel: "CSV UTF-8")'
        )
    return _BY_ENDING[ending], None


def _folder_format(path: str) -> str:
    folder = Path(path)
    entries = sorted(folder.iterdir())
    if (folder / 'Annotations').is_dir() or any(entry.suffix.lower() == '.xml' for entry in entries):
        return 'voc'
    if any(entry.is_dir() for entry in entries):
        return 'folders'
    raise UserError(
        f'{path}: a folder with neither xml files (VOC) nor a folder for each class: name the file with the labels'
    )


def _json_format(path: str) -> tuple[str, object]:
    content = read_json(path)
    if isinstance(content, dict):
        keys = content.keys()
        if keys >= {'images', 'annotations', 'categories'}:
            return 'coco', content
        if keys >= {'metainfo', 'data_list'}:
            return 'json', content
        found = f'an object with {", ".join(map(str, list(keys)[:10])) or "nothing"}'
    elif isinstance(content, list):
        if all(isinstance(entry, dict) for entry in content) and content:
            return 'label-studio', content
        found = 'an empty list' if not content else 'a list of other things than objects'
    else:
        found = f'a {type(content).__name__}'
    raise UserError(
        f'{path}: expected images, annotations, categories (COCO), metainfo, data_list (OpenMMLab) or a list of '
        f'tasks (Label Studio), found {found}: export it in one of these formats'
    )

"""The json of mmpretrain's ``MultiLabelDataset``: indices of classes for each picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmlattn.utils.json_files import to_json

from ..annotation_files import check_sections, read_json
from ..plain_json import SECTIONS, read_plain
from .assembly import Draft, split_and_group
from .records import LabelTable


def read_openmmlab(path: str, classes: Sequence[str] | None = None, content: dict | None = None) -> Draft:
    """Read the json; labels to ignore, and difficult ones that are not labels as well, are unknown."""
    content = check_sections(path, read_json(path) if content is None else content, SECTIONS)
    # Where the file names its classes, others select among them; else they say what the indices mean.
    names, items = read_plain(path, content, classes if content['metainfo'].get('classes') is None else None)
    said = []
    for number, item in enumerate(items):
        present = item['gt_label']
        ignored = {*item.get('gt_label_ignore', ()), *item.get('gt_label_difficult', ())}
        said += [(number, label, 1) for label in present]
        said += [(number, label, -1) for label in sorted(ignored - set(present))]
    where = 'data_list[{}]'.format
    flat = np.array(said, np.int64).reshape(-1, 3)
    return Draft(
        path,
        'json',
        [item['img_path'] for item in items],
        flat[:, 0],
        flat[:, 1],
        flat[:, 2],
        list(names),
        where,
        declared=names,
        names_all=True,
        **split_and_group(path, items, where),
    )


def write_openmmlab(table: LabelTable, path: str) -> None:
    """Write the json; what is not named in a table that is not closed is to be ignored."""
    labels, items = table.matrix(), []
    for record, row in zip(table.records, labels, strict=True):
        item = dict(img_path=record.image, gt_label=np.flatnonzero(row == 1))
        if (row == -1).any():
            item['gt_label_ignore'] = np.flatnonzero(row == -1)
        items.append(item | record.parts)
    content = dict(metainfo=dict(classes=table.classes), data_list=items)
    with Path(path).open('x', encoding='utf-8') as file:
        file.write(to_json(content))

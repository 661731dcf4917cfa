"""The sections of the json that mmpretrain's ``MultiLabelDataset`` reads, checked."""

import os
from collections.abc import Sequence

from .annotation_files import check_classes, is_whole, json_entries, refuse
from .checked_settings import check_class_key

SECTIONS = dict(metainfo=dict, data_list=list)


def read_plain(
    ann_file: str, content: dict, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], list[dict]]:
    """The classes, of the file or else those given, and the entries of its ``data_list``."""
    written = content['metainfo']
    check_class_key(written, f'{ann_file}: metainfo')
    named = written['classes'] if written.get('classes') is not None else classes
    if named is None:
        refuse(ann_file, 'metainfo', 'classes is missing: list the names in the order of the indices')
    names = check_classes(named, ann_file)
    if not content['data_list']:
        refuse(ann_file, 'data_list', 'is empty')
    first: dict[str, int] = {}
    keys = ('img_path', 'gt_label')
    for item, reject in json_entries(ann_file, 'data_list', content['data_list'], keys):
        path = item['img_path']
        if not isinstance(path, str):
            reject(f'img_path must be a string, got {path!r}')
        plain = os.path.normpath(path)
        if plain in first:
            reject(f'{path} is already data_list[{first[plain]}]')
        first[plain] = len(first)
        for key in ('gt_label', 'gt_label_ignore', 'gt_label_difficult'):
            problem = _labels_problem(item.get(key, []), len(names))
            if problem:
                reject(f'{key} of {path} {problem}')
        both = sorted(set(item['gt_label']) & set(item.get('gt_label_ignore', [])))
        if both:
            reject(f'{path} has the labels {both} both in gt_label and in gt_label_ignore')
    return names, content['data_list']


def _labels_problem(labels: object, num_classes: int) -> str | None:
    if not isinstance(labels, list) or not all(map(is_whole, labels)):
        return f'must be a list of whole numbers, the indices of classes, got {labels!r}'
    if len(labels) == num_classes > 2 and set(labels) <= {0, 1}:
        ones = [i for i, value in enumerate(labels) if value]
        return f'looks like a one-hot vector: write the indices of its ones, {ones}'
    if len(set(labels)) < len(labels):
        return f'holds a label twice: {labels}'
    outside = [label for label in labels if not 0 <= label < num_classes]
    classes = f'0 to {num_classes - 1} of the {num_classes} classes'
    return f'holds {outside}, outside {classes}' if outside else None

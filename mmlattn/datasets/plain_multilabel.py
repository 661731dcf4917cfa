"""The plain list of images and labels that mmpretrain's ``MultiLabelDataset`` reads, checked while loading."""

import os

from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS

from .annotation_files import (
    check_classes,
    check_images,
    check_labels,
    is_whole,
    json_entries,
    load_json,
    refuse,
    set_classes,
)
from .checked_settings import CheckedSettings, check_class_key


@DATASETS.register_module()
class PlainMultiLabel(CheckedSettings, MultiLabelDataset):
    """mmpretrain's ``MultiLabelDataset`` whose annotation file is checked while loading.

    .. code-block:: none

        {"metainfo": {"classes": ["cat", "dog", "bird"]},
         "data_list": [{"img_path": "a.jpg", "gt_label": [0, 2]},
                       {"img_path": "b.jpg", "gt_label": [], "gt_label_ignore": [1]}]}

    mmpretrain trains on a wrong file without a word: a label written twice becomes a target of 2, a one-hot vector
    is taken for indices, a float is cut off. Here each is an error.

    Args:
        ann_file (str): The json. ``gt_label`` and the optional ``gt_label_ignore`` and ``gt_label_difficult`` (whose
            labels may be in ``gt_label`` too, as in VOC) are lists of class indices.
        **kwargs: ``data_root``, ``data_prefix``, ``pipeline``, ``metainfo`` ... of mmpretrain's ``BaseDataset``.
            ``metainfo`` names the classes where the file does not. Where both do they must agree: the indices of
            the file are never reordered.

    Raises:
        UserError: Naming the entry and what to mend, for whatever is wrong in the json (one-hot vectors are
            recognised with three classes or more), for missing pictures, and in training
            for data without any label.
    """

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; returns the items of mmpretrain's ``MultiLabelDataset``."""
        content = load_json(self.ann_file, dict(metainfo=dict, data_list=list))
        written = content['metainfo']
        check_class_key(written, f'{self.ann_file}: metainfo')
        named = [info['classes'] for info in (written, self._metainfo) if info.get('classes') is not None]
        if not named:
            missing = 'classes is missing: list the names in the order of the indices'
            refuse(self.ann_file, 'metainfo', missing)
        set_classes(self._metainfo, check_classes(named[0], self.ann_file), self.ann_file, 'metainfo')
        self._metainfo = {**written, **self._metainfo}
        if not content['data_list']:
            refuse(self.ann_file, 'data_list', 'is empty')
        first: dict[str, int] = {}
        keys = ('img_path', 'gt_label')
        for item, reject in json_entries(self.ann_file, 'data_list', content['data_list'], keys):
            path = item['img_path']
            if not isinstance(path, str):
                reject(f'img_path must be a string, got {path!r}')
            if os.path.normpath(path) in first:
                reject(f'{path} is already data_list[{first[os.path.normpath(path)]}]')
            first[os.path.normpath(path)] = len(first)
            for key in ('gt_label', 'gt_label_ignore', 'gt_label_difficult'):
                problem = _labels_problem(item.get(key, []), len(self._metainfo['classes']))
                if problem:
                    reject(f'{key} of {path} {problem}')
            both = sorted(set(item['gt_label']) & set(item.get('gt_label_ignore', [])))
            if both:
                reject(f'{path} has the labels {both} both in gt_label and in gt_label_ignore')
        items = [self.parse_data_info(item) for item in content['data_list']]
        check_images(items, self.ann_file)
        check_labels(items, self.CLASSES, self.ann_file, training=not self.test_mode)
        return items


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

"""The plain list of images and labels that mmpretrain's ``MultiLabelDataset`` reads, checked while loading."""

from mmpretrain.datasets import MultiLabelDataset

from mmlattn.datasets.annotation_checks import (
    check_classes,
    check_images,
    is_whole,
    load_json,
    missing_key,
    refuse,
)
from mmlattn.registry import DATASETS

__all__ = ['PlainMultiLabel']


@DATASETS.register_module()
class PlainMultiLabel(MultiLabelDataset):
    """mmpretrain's ``MultiLabelDataset`` whose annotation file is checked while loading.

    .. code-block:: none

        {"metainfo": {"classes": ["cat", "dog", "bird"]},
         "data_list": [{"img_path": "a.jpg", "gt_label": [0, 2]},
                       {"img_path": "b.jpg", "gt_label": [], "gt_label_ignore": [1]}]}

    mmpretrain trains on a wrong file without a word: a label written twice becomes a target of 2, a one-hot vector
    is taken for indices, a float is cut off. Here each is an error. This is a class of its own, beside
    :class:`mmlattn.COCOMultiLabel`, because a plain list has no crowds and no boxes to have policies for.

    Args:
        ann_file (str): The json. ``gt_label`` and the optional ``gt_label_ignore`` are lists of class indices.
        **kwargs: ``data_root``, ``data_prefix``, ``pipeline``, ``metainfo`` ... of mmpretrain's ``BaseDataset``.
            ``metainfo`` may name the classes where the file does not; it does not reorder the indices.

    Raises:
        UserError: (a ``ValueError``) naming the file, the entry and what to mend: broken json, missing key,
            a label that is not a whole number, is out of range or is there twice (which catches one-hot vectors
            of three classes or more), a label both present and ignored, an image listed
            twice, missing pictures.
    """

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file.

        Returns:
            list[dict]: The items of mmpretrain's ``MultiLabelDataset``.
        """
        content = load_json(self.ann_file, ('metainfo', 'data_list'))
        if 'classes' not in self._metainfo:
            problem = missing_key(content['metainfo'], ('classes',))
            if problem:
                refuse(self.ann_file, 'metainfo', f'{problem}: list the names in the order of the indices')
        self._metainfo = {**content['metainfo'], **self._metainfo}
        self._metainfo['classes'] = check_classes(self._metainfo['classes'], None, self.ann_file)
        first: dict[str, int] = {}
        for i, item in enumerate(content['data_list']):
            problem = missing_key(item, ('img_path', 'gt_label')) or _item_problem(
                item, len(self._metainfo['classes']), first
            )
            if problem:
                refuse(self.ann_file, f'data_list[{i}]', problem)
            first[item['img_path']] = i
        items = [self.parse_data_info(item) for item in content['data_list']]
        check_images((item['img_path'] for item in items), self.ann_file)
        return items


def _item_problem(item: dict, num_classes: int, first: dict[str, int]) -> str | None:
    path, labels, ignored = item['img_path'], item['gt_label'], item.get('gt_label_ignore', [])
    if not isinstance(path, str):
        return f'img_path must be a string, got {path!r}'
    if path in first:
        return f'{path} is already data_list[{first[path]}]'
    for key, values in (('gt_label', labels), ('gt_label_ignore', ignored)):
        problem = _labels_problem(values, num_classes)
        if problem:
            return f'{key} of {path} {problem}'
    both = sorted(set(labels) & set(ignored))
    return f'{path} has the labels {both} both in gt_label and in gt_label_ignore' if both else None


def _labels_problem(labels: object, num_classes: int) -> str | None:
    if not isinstance(labels, list) or not all(map(is_whole, labels)):
        return f'must be a list of whole numbers, the indices of classes, got {labels!r}'
    if len(labels) == num_classes > 2 and set(labels) <= {0, 1}:
        ones = [i for i, value in enumerate(labels) if value]
        return f'looks like a one-hot vector: write the indices of its ones, {ones}'
    if len(set(labels)) < len(labels):
        return f'holds a label twice: {labels}'
    outside = [label for label in labels if not 0 <= label < num_classes]
    return (
        f'holds {outside}, outside 0 to {num_classes - 1} of the {num_classes} classes' if outside else None
    )

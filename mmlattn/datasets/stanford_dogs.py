"""Stanford Dogs: 120 breeds, with pictures and boxes from ImageNet."""

import io
import struct
import zlib

import mat4py
import numpy as np
from mat4py.loadmat import ParseError
from mmengine.fileio import get, join_path
from mmpretrain.datasets import BaseDataset

from mmlattn.datasets.annotation_checks import check_images, check_same_classes, refuse
from mmlattn.datasets.cub_layout import check_split
from mmlattn.datasets.voc_xml import box_corners, picture_size, read_xml
from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

__all__ = ['StanfordDogs']

_AGAIN = 'unpack lists.tar again'


@DATASETS.register_module()
class StanfordDogs(BaseDataset):
    """Stanford Dogs, whose lists (and annotations, if read) are checked while loading.

    Each item has ``img_path`` and ``gt_label``; with boxes also the ``width`` and ``height`` that the annotation
    says, ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original image, one for each dog, and ``gt_box_labels``
    (K,) int64, all the picture's breed. The classes are named as the folders, without what stands before the first
    hyphen, in the order of the labels. Published: 12,000 pictures for training and 8,580 for test, 120 classes ::

        stanford_dogs
        ├── Images           n02085620-Chihuahua/n02085620_10074.jpg ...
        ├── Annotation       n02085620-Chihuahua/n02085620_10074 ..., VOC's xml without extension
        ├── train_list.mat   file_list, annotation_list, labels (from 1)
        └── test_list.mat

    The pictures come from ImageNet: a network that was trained on ImageNet may have seen those of the test set.

    Args:
        data_root (str): The folder with the above.
        split (str): 'train' or 'test'. Defaults to 'train'.
        with_boxes (bool): Whether the annotations are read too. Their corners are taken as edges counted from 0.
            Defaults to False.
        **kwargs: As of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: naming the file, the entry and what to mend: a missing or damaged list or
            annotation, columns of different lengths, labels with gaps, a folder with two labels or a label with two
            folders, missing pictures, a picture without a box, a box without area.

    Examples:
        >>> StanfordDogs('data/stanford_dogs', split='test', with_boxes=True, test_mode=True)
    """

    def __init__(self, data_root: str, split: str = 'train', with_boxes: bool = False, **kwargs) -> None:
        check_split(split)
        self.split, self.with_boxes = split, with_boxes
        super().__init__(ann_file=f'{split}_list.mat', data_root=data_root, data_prefix='Images', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the list, and with boxes the annotation of each picture.

        Returns:
            list[dict]: One item for each picture, in the order of the list.
        """
        files, annotations, numbers = _read_list(self.ann_file)
        classes = _class_names(files, numbers, self.ann_file)
        check_same_classes(classes, self._metainfo.get('classes'), self.ann_file, 'file_list')
        self._metainfo['classes'] = classes
        items = [
            dict(img_path=join_path(self.img_prefix, file), gt_label=number - 1)
            for file, number in zip(files, numbers, strict=True)
        ]
        check_images((item['img_path'] for item in items), self.ann_file)
        if self.with_boxes:
            for item, name in zip(items, annotations, strict=True):
                item.update(_boxes(join_path(self.data_root, 'Annotation', name), item['gt_label']))
        return items

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        return [
            f'Root of dataset: \t{self.data_root}',
            f'Split: \t{self.split}',
            f'Boxes: \t{self.with_boxes}',
        ]


def _read_list(path: str) -> tuple[list[str], list[str], list[int]]:
    """Names of pictures and annotations below their folders, and labels from 1."""
    try:
        content = mat4py.loadmat(io.BytesIO(get(path)))
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: no such file: unpack lists.tar there, or set data_root of the data set'
        ) from error
    # What mat4py's parser stumbles over in a file that is cut off or something else.
    except (ParseError, ValueError, IndexError, KeyError, TypeError, struct.error, zlib.error) as error:
        raise UserError(f'{path}: not a MATLAB file that can be read ({error}): {_AGAIN}') from error
    columns = []
    for name, kind in (('file_list', str), ('annotation_list', str), ('labels', (int, float))):
        column = _flat(content.get(name, []))
        wrong = next((n for n, value in enumerate(column) if not isinstance(value, kind)), None)
        if wrong is not None:
            refuse(
                path,
                f'{name}, entry {wrong + 1}',
                f'{column[wrong]!r} is out of place: {_AGAIN}',
            )
        columns.append(column)
    files, annotations, labels = columns
    if not len(files) == len(annotations) == len(labels) > 0:
        raise UserError(
            f'{path}: file_list, annotation_list and labels must be equally long, got {len(files)}, '
            f'{len(annotations)} and {len(labels)} entries: {_AGAIN}'
        )
    for n, label in enumerate(labels, start=1):
        if label < 1 or label != int(label):
            refuse(path, f'labels, entry {n}', f'expected a whole number from 1, got {label:g}: {_AGAIN}')
    return files, annotations, [int(label) for label in labels]


def _flat(value) -> list:
    """The column of a MATLAB variable; mat4py gives nested lists, and a single value bare."""
    return [leaf for row in value for leaf in _flat(row)] if isinstance(value, list) else [value]


def _class_names(files: list[str], numbers: list[int], path: str) -> tuple[str, ...]:
    """Name of each class, from the folders of its pictures."""
    folders, labels = {}, {}
    for n, (file, number) in enumerate(zip(files, numbers, strict=True), start=1):
        folder = file.partition('/')[0]
        if folders.setdefault(number, folder) != folder:
            refuse(path, f'entry {n}', f'{file} has the label {number} of {folders[number]}: {_AGAIN}')
        if labels.setdefault(folder, number) != number:
            refuse(
                path, f'entry {n}', f'{file} has label {number} but its folder has {labels[folder]}: {_AGAIN}'
            )
    if sorted(folders) != list(range(1, len(folders) + 1)):
        gap = next(number for number in range(1, len(folders) + 1) if number not in folders)
        refuse(path, 'labels', f'there is no picture of class {gap} of {max(folders)}: {_AGAIN}')
    return tuple(folders[number].partition('-')[2] or folders[number] for number in sorted(folders))


def _boxes(path: str, label: int) -> dict:
    """Size and boxes in an annotation."""
    root = read_xml(path)
    try:
        width, height = picture_size(root, path)
        corners = [
            box_corners(entry, path, f'object {n}') for n, entry in enumerate(root.findall('object'), start=1)
        ]
    except UserError as error:
        raise UserError(f'{error}: mend the file, or set with_boxes=False') from error
    boxes = np.clip(np.array(corners, float).reshape(-1, 4) / [width, height, width, height], 0, 1)
    boxes = boxes.astype(np.float32)
    if not len(boxes) or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise UserError(
            f'{path}: must have objects, each with a box inside the {width:g} x {height:g} picture, got {corners}: '
            'mend the file, or set with_boxes=False'
        )
    return dict(
        width=int(width),
        height=int(height),
        gt_boxes=boxes,
        gt_box_labels=np.full(len(boxes), label, np.int64),
    )

"""Stanford Dogs: 120 breeds, with pictures and boxes from ImageNet."""

import io

import mat4py
import numpy as np
from mmengine.fileio import join_path
from mmpretrain.datasets import BaseDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import check_images, read_bytes, refuse, relative_boxes, set_classes
from .box_conventions import check_boxes
from .checked_settings import CheckedSettings
from .voc_xml import box_corners, picture_size, read_xml

_AGAIN = 'unpack lists.tar again'


@DATASETS.register_module()
class StanfordDogs(CheckedSettings, BaseDataset):
    """Stanford Dogs, whose lists (and annotations, if read) are checked while loading.

    Each item has ``img_path`` and ``gt_label``; with boxes also the ``width`` and ``height`` that the annotation
    says, ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original image, one for each dog, and ``gt_box_labels``
    (K,) int64, all the picture's breed. The classes are named as the folders, without what stands before the first
    hyphen, in the order of the labels. docs/datasets.md has the folder tree.

    The pictures come from ImageNet: a network that was trained on ImageNet may have seen those of the test set.

    Args:
        data_root (str): The folder with the above.
        split (str): 'train' or 'test'. Defaults to 'train'.
        with_boxes (bool): Whether the annotations are read too. Their corners are taken as edges counted from 0.
            Defaults to False.
        **kwargs: As of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: Naming the file, the entry and what to mend, for whatever is wrong in list and annotations, and for
            missing pictures.
    """

    def __init__(self, data_root: str, split: str = 'train', with_boxes: bool = False, **kwargs) -> None:
        check_choice('split', split, ('train', 'test'))
        self.split, self.with_boxes = split, with_boxes
        super().__init__(ann_file=f'{split}_list.mat', data_root=data_root, data_prefix='Images', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the list, and with boxes the annotation of each picture; returns an item for each."""
        files, annotations, numbers = _read_list(self.ann_file)
        classes = _class_names(files, numbers, self.ann_file)
        set_classes(self._metainfo, classes, self.ann_file, 'file_list')
        items = [
            dict(img_path=join_path(self.img_prefix, file), gt_label=number - 1)
            for file, number in zip(files, numbers, strict=True)
        ]
        check_images(items, self.ann_file)
        if self.with_boxes:
            numbers, sizes, places = [], [], []
            for item, name in zip(items, annotations, strict=True):
                path = join_path(self.data_root, 'Annotation', name)
                corners, fields = _boxes(path, item['gt_label'])
                item.update(fields)
                numbers += corners
                sizes += [(item['width'], item['height'])] * len(corners)
                places += [(path, f'object {number}') for number in range(1, len(corners) + 1)]
            check_boxes(self.ann_file, numbers, sizes, 'xmin, ymin, xmax, ymax', places.__getitem__)
        return items

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        root = f'Root of dataset: \t{self.data_root}'
        return [root, f'Split: \t{self.split}', f'Boxes: \t{self.with_boxes}']


def _read_list(path: str) -> tuple[list[str], list[str], list[int]]:
    """Names of pictures and annotations below their folders, and labels from 1."""
    content = read_bytes(path, 'unpack lists.tar there, or set data_root of the data set')
    try:
        # Not scipy, whose reader ends the whole process on some damaged files.
        content = mat4py.loadmat(io.BytesIO(content))
    # A file that is cut off or something else makes the reader stumble in many ways.
    except Exception as error:
        raise UserError(f'{path}: not a MATLAB file that can be read ({error}): {_AGAIN}') from error
    columns = []
    for name, kind in (('file_list', str), ('annotation_list', str), ('labels', (int, float))):
        columns.append(_flat(content.get(name, [])))
        for number, value in enumerate(columns[-1], start=1):
            if not isinstance(value, kind):
                refuse(path, f'{name}, entry {number}', f'{value!r} is out of place: {_AGAIN}')
    files, annotations, labels = columns
    if not len(files) == len(annotations) == len(labels) > 0:
        raise UserError(
            f'{path}: file_list, annotation_list and labels must be equally long, got {len(files)}, '
            f'{len(annotations)} and {len(labels)} entries: {_AGAIN}'
        )
    for number, label in enumerate(labels, start=1):
        if not label >= 1 or label % 1:
            wrong = f'expected a whole number from 1, got {label:g}: {_AGAIN}'
            refuse(path, f'labels, entry {number}', wrong)
    return files, annotations, [int(label) for label in labels]


def _flat(value) -> list:
    """The column of a MATLAB variable; mat4py gives nested lists, and a single value bare."""
    return [leaf for row in value for leaf in _flat(row)] if isinstance(value, list) else [value]


def _class_names(files: list[str], numbers: list[int], path: str) -> tuple[str, ...]:
    """Name of each class, from the folders of its pictures."""
    folders, labels = {}, {}
    for entry, (file, number) in enumerate(zip(files, numbers, strict=True), start=1):
        folder = file.partition('/')[0]
        problem = None
        if folders.setdefault(number, folder) != folder:
            problem = f'{file} has the label {number} of {folders[number]}'
        elif labels.setdefault(folder, number) != number:
            problem = f'{file} has label {number} but its folder has {labels[folder]}'
        if problem:
            refuse(path, f'entry {entry}', f'{problem}: {_AGAIN}')
    gaps = [number for number in range(1, max(folders)) if number not in folders]
    if gaps:
        refuse(path, 'labels', f'there is no picture of class {gaps[0]} of {max(folders)}: {_AGAIN}')
    return tuple(folders[number].partition('-')[2] or folders[number] for number in sorted(folders))


def _boxes(path: str, label: int) -> tuple[list[tuple], dict]:
    """Corners as they stand in an annotation, and the fields of the item that come from it."""
    root = read_xml(path)
    mend = 'mend the file, or set with_boxes=False'
    try:
        width, height = picture_size(root, path)
        objects = enumerate(root.findall('object'), start=1)
        corners = [box_corners(entry, path, f'object {number}') for number, entry in objects]
    except UserError as error:
        raise UserError(f'{error}: {mend}') from error
    boxes = relative_boxes(corners, width, height)
    if not len(boxes) or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise UserError(
            f'{path}: must have objects, each with a box inside the {width:g} x {height:g} picture, got {corners}: '
            f'{mend}'
        )
    labels = np.full(len(boxes), label, np.int64)
    return corners, dict(width=int(width), height=int(height), gt_boxes=boxes, gt_box_labels=labels)

"""PASCAL VOC's label sets, with the boxes kept for localisation checks."""

import reprlib
from xml.etree import ElementTree

import numpy as np
from mmengine.fileio import list_from_file
from mmpretrain.datasets import VOC

from mmlattn.datasets.annotation_checks import check_classes, check_images, keep_labelled, refuse
from mmlattn.datasets.voc_xml import box_corners, picture_size, read_xml
from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

__all__ = ['VOCBox']


@DATASETS.register_module()
class VOCBox(VOC):
    """mmpretrain's ``VOC`` with boxes, whose annotation files are checked while loading.

    Each item has ``img_path``, ``img_id`` (as in the list of images), the ``width`` and ``height`` that the xml says,
    ``gt_label`` (sorted indices of the classes of objects not marked difficult, maybe none), ``gt_label_difficult``
    (likewise of difficult objects; a class may be in both), ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the
    original image and ``gt_box_labels`` (K,) int64, as :class:`mmlattn.COCOMultiLabel`. An object without
    ``difficult`` is not difficult; objects of other names than the classes are passed over.

    VOC counts pixels from 1 and its boxes include the last one, so ``xmin = 1, xmax = width`` is the whole width.

    Args:
        data_root (str): The folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        *args: ``split``, ``image_set_path``, ``data_prefix`` ... of ``VOC``.
        difficult_boxes (bool): Whether the boxes of difficult objects are in ``gt_boxes`` too. They are then targets
            of the localisation metrics where another object of the class is not difficult. Defaults to False.
        filter_empty (bool): Whether to leave out images without any label, which are those whose only objects are
            difficult. Defaults to False.
        **kwargs: As of ``VOC``; ``indices`` count after ``filter_empty``.

    Raises:
        UserError: naming the file and what to mend: no list of images or no xml, broken xml, a
            missing or malformed entry, an image listed twice, missing pictures, no image left.

    Examples:
        >>> VOCBox('data/VOCdevkit/VOC2007', split='trainval', filter_empty=True)
    """

    def __init__(
        self, data_root: str, *args, difficult_boxes: bool = False, filter_empty: bool = False, **kwargs
    ) -> None:
        if kwargs.get('filter_cfg'):
            raise UserError(f'use filter_empty=True instead of filter_cfg={kwargs["filter_cfg"]}')
        self.difficult_boxes, self.filter_empty = difficult_boxes, filter_empty
        super().__init__(data_root, *args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the list of images and the annotation of each.

        Returns:
            list[dict]: One item for each image, in the order of the list.
        """
        if self.ann_prefix is None:
            raise UserError(
                "VOCBox reads annotations: give data_prefix=dict(img_path='JPEGImages', ann_path='Annotations')"
            )
        self._metainfo['classes'] = check_classes(self.CLASSES, None, self.image_set_path)
        items = [self._item(image_id) for image_id in self._read_ids()]
        check_images((item['img_path'] for item in items), self.image_set_path)
        return items

    def filter_data(self) -> list[dict]:
        """Leave out images without a label, if asked to.

        Raises:
            UserError: If no image is left.
        """
        settings = f'classes={reprlib.repr(self.CLASSES)}'
        return keep_labelled(self.data_list, self.filter_empty, self.image_set_path, settings, 'split')

    def _read_ids(self) -> list[str]:
        try:
            lines = list_from_file(self.image_set_path)
        except FileNotFoundError as error:
            raise UserError(
                f'{self.image_set_path}: no such file: set data_root and split (or image_set_path) of the data set'
            ) from error
        first: dict[str, int] = {}
        for number, line in enumerate(lines, start=1):
            if len(line.split()) != 1:
                refuse(self.image_set_path, f'line {number}', f'must hold the id of one image, got {line!r}')
            image_id = line.strip()
            if image_id in first:
                refuse(
                    self.image_set_path, f'line {number}', f'{image_id} is already in line {first[image_id]}'
                )
            first[image_id] = number
        return list(first)

    def _item(self, image_id: str) -> dict:
        path = self.backend.join_path(self.ann_prefix, f'{image_id}.xml')
        root = read_xml(path)
        width, height = picture_size(root, path)
        sure, difficult, rows = set(), set(), []
        for number, entry in enumerate(root.findall('object'), start=1):
            name = entry.findtext('name')
            if name is None:
                refuse(path, f'object {number}', 'name is missing')
            label = self.class_to_idx.get(name)
            if label is None:
                continue
            where = f'object {number} ({name})'
            is_difficult = _is_difficult(entry, path, where)
            (difficult if is_difficult else sure).add(label)
            if self.difficult_boxes or not is_difficult:
                left, top, right, bottom = box_corners(entry, path, where)
                rows.append((label, left - 1, top - 1, right, bottom))  # between the pixels, counted from 0
        table = np.array(rows, float).reshape(-1, 5)
        return dict(
            img_path=self.backend.join_path(self.img_prefix, f'{image_id}.jpg'),
            img_id=image_id,
            width=int(width),
            height=int(height),
            gt_label=sorted(sure),
            gt_label_difficult=sorted(difficult),
            gt_boxes=np.clip(table[:, 1:] / [width, height, width, height], 0, 1).astype(np.float32),
            gt_box_labels=table[:, 0].astype(np.int64),
        )

    def extra_repr(self) -> list[str]:
        """Lines on the policies, for ``repr``."""
        return [
            *super().extra_repr(),
            f'Boxes of difficult objects: \t{self.difficult_boxes}',
            f'Empty images left out: \t{self.filter_empty}',
        ]


def _is_difficult(entry: ElementTree.Element, path: str, where: str) -> bool:
    text = entry.findtext('difficult', '0').strip()
    if text not in ('0', '1'):
        refuse(path, where, f'difficult must be 0 or 1, got {text!r}')
    return text == '1'

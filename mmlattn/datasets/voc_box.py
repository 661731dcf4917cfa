"""PASCAL VOC's label sets, with the boxes kept for localisation checks."""

import reprlib

import numpy as np
from mmpretrain.datasets import VOC

from mmlattn.registry import DATASETS
from mmlattn.utils.errors import UserError

from .annotation_files import (
    check_classes,
    check_images,
    keep_labelled,
    numbered_lines,
    read_text,
    refuse,
    relative_boxes,
)  # fmt: skip
from .voc_xml import box_corners, picture_size, read_xml


@DATASETS.register_module()
class VOCBox(VOC):
    """mmpretrain's ``VOC`` with boxes, whose annotation files are checked while loading.

    Each item has

    * ``img_path``, ``img_id`` (as in the list of images), and the ``width`` and ``height`` that the xml says;
    * ``gt_label``, sorted indices of the classes of objects not marked difficult, maybe none;
    * ``gt_label_difficult``, likewise of difficult objects; a class may be in both;
    * ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original image, and ``gt_box_labels`` (K,) int64.

    An object without ``difficult`` is not difficult; objects of other names than the classes are passed over.
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
        UserError: Naming the file and what to mend, for whatever is wrong in it, and for missing pictures.
    """

    def __init__(
        self, data_root: str, *args, difficult_boxes: bool = False, filter_empty: bool = False, **kwargs
    ) -> None:
        if kwargs.get('filter_cfg'):
            raise UserError(f'use filter_empty=True instead of filter_cfg={kwargs["filter_cfg"]}')
        self.difficult_boxes, self.filter_empty = difficult_boxes, filter_empty
        super().__init__(data_root, *args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the list of images and the annotation of each; returns an item for each, in its order."""
        if self.ann_prefix is None:
            raise UserError(
                "VOCBox reads annotations: give data_prefix=dict(img_path='JPEGImages', ann_path='Annotations')"
            )
        self._metainfo['classes'] = check_classes(self.CLASSES, self.image_set_path)
        items = [self._item(image_id) for image_id in self._read_ids()]
        check_images(items, self.image_set_path)
        settings = f'classes={reprlib.repr(self.CLASSES)}'
        return keep_labelled(items, self.filter_empty, self.image_set_path, settings)

    def _read_ids(self) -> list[str]:
        path = self.image_set_path
        text = read_text(path, 'set data_root and split (or image_set_path) of the data set')
        ids = numbered_lines(path, text)
        for line, number in ids.items():
            if len(line.split()) > 1:
                refuse(path, f'line {number}', f'must hold the id of one image, got {line!r}')
        return list(ids)

    def _item(self, image_id: str) -> dict:
        path = self.backend.join_path(self.ann_prefix, f'{image_id}.xml')
        root = read_xml(path)
        width, height = picture_size(root, path)
        index = self.class_to_idx
        present, difficult, boxes, box_labels = set(), set(), [], []
        for number, entry in enumerate(root.findall('object'), start=1):
            name = entry.findtext('name')
            if name is None:
                refuse(path, f'object {number}', 'name is missing')
            label = index.get(name)
            if label is None:
                continue
            where = f'object {number} ({name})'
            text = entry.findtext('difficult', '0').strip()
            if text not in ('0', '1'):
                refuse(path, where, f'difficult must be 0 or 1, got {text!r}')
            (present if text == '0' else difficult).add(label)
            if self.difficult_boxes or text == '0':
                left, top, right, bottom = box_corners(entry, path, where)
                # Edges between the pixels, counted from 0.
                boxes.append((left - 1, top - 1, right, bottom))
                box_labels.append(label)
        return dict(
            img_path=self.backend.join_path(self.img_prefix, f'{image_id}.jpg'),
            img_id=image_id,
            width=int(width),
            height=int(height),
            gt_label=sorted(present),
            gt_label_difficult=sorted(difficult),
            gt_boxes=relative_boxes(boxes, width, height),
            gt_box_labels=np.array(box_labels, np.int64),
        )

    def extra_repr(self) -> list[str]:
        """Lines on the policies, for ``repr``."""
        return [
            *super().extra_repr(),
            f'Boxes of difficult objects: \t{self.difficult_boxes}',
            f'Empty images left out: \t{self.filter_empty}',
        ]

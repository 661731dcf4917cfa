"""PASCAL VOC's label sets, with the boxes kept for localisation checks."""

import os
import reprlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
from mmengine.fileio import LocalBackend
from mmpretrain.datasets import VOC

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import (
    check_classes,
    check_images,
    check_labels,
    keep_labelled,
    numbered_lines,
    read_text,
    refuse,
    relative_boxes,
    warn,
)
from .box_conventions import check_boxes
from .checked_settings import CheckedSettings, refuse_filter_cfg
from .picture_names import PICTURE_EXTENSIONS, is_picture
from .voc_names import ObjectNames
from .voc_xml import box_corners, picture_size, read_xml


@DATASETS.register_module()
class VOCBox(CheckedSettings, VOC):
    """mmpretrain's ``VOC`` with boxes, whose annotation files are checked while loading.

    Each item has

    * ``img_path``, ``img_id`` (as in the list of images), and the ``width`` and ``height`` that the xml says;
    * ``gt_label``, sorted indices of the classes of objects not marked difficult, maybe none;
    * ``gt_label_difficult``, likewise of difficult objects; a class may be in both;
    * ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original image, and ``gt_box_labels`` (K,) int64.

    An object without ``difficult`` is not difficult. The classes are those of ``metainfo.classes``; if there are
    none, VOC's 20, or if the xml has other names than those, all names in the folder of annotations, sorted. Blanks
    around a name do not count. Objects of other names than the classes are left out, and logged. A picture is called
    as its xml, with the extension .jpg or else that of another picture format.
    VOC counts pixels from 1 and its boxes include the last one, so ``xmin = 1, xmax = width`` is the whole width.

    A test set without annotations, as that of VOC 2012 is, has ``data_prefix='JPEGImages'`` (no ``ann_path``) and
    ``test_mode=True``: its items have ``img_path`` and ``img_id`` alone.

    Args:
        data_root (str): The folder with ``Annotations``, ``ImageSets`` and ``JPEGImages``.
        *args: ``split``, ``image_set_path``, ``data_prefix`` ... of ``VOC``.
        difficult (str): What a class is in training whose objects in a picture are all difficult: 'negative', as in
            every published recipe, or 'unknown', in ``gt_label_ignore`` too, so that losses leave it out. Metrics
            ignore it either way.
        difficult_boxes (bool): Whether the boxes of difficult objects are in ``gt_boxes`` too. They are then targets
            of the localisation metrics where another object of the class is not difficult. Defaults to False.
        filter_empty (bool): Whether to leave out images without any label, which are those whose only objects are
            difficult. Defaults to False.
        **kwargs: As of ``VOC``; ``indices`` count after ``filter_empty``.

    Raises:
        UserError: Naming the file and what to mend, for whatever is wrong in it, for missing pictures, for names that
            differ from a class in spelling only, and in training for data without any label.
    """

    def __init__(
        self,
        data_root: str,
        *args,
        difficult: str = 'negative',
        difficult_boxes: bool = False,
        filter_empty: bool = False,
        **kwargs,
    ) -> None:
        check_choice('difficult', difficult, ('negative', 'unknown'))
        refuse_filter_cfg(kwargs)
        self.difficult, self.difficult_boxes, self.filter_empty = difficult, difficult_boxes, filter_empty
        try:
            super().__init__(os.fspath(data_root), *args, **kwargs)
        except AssertionError as error:  # of split and data_prefix
            problem = ' '.join(str(error).split())
            if 'ann_path' in problem:
                problem = (
                    'only val and test with test_mode=True are read without annotations: give '
                    "data_prefix=dict(img_path='JPEGImages', ann_path='Annotations')"
                )
            raise UserError(problem) from error

    def load_data_list(self) -> list[dict]:
        """Read and check the list of images and the annotation of each; returns an item for each, in its order."""
        if self.ann_prefix is None:
            return self._load_unannotated()
        path = self.image_set_path
        wanted = check_classes(self.CLASSES, path) if self.classes_from_config else None
        names, pictures = ObjectNames(), {}
        items = [self._read_item(image_id, wanted, names, pictures) for image_id in self._read_ids()]
        classes = self._metainfo['classes'] = wanted or self._find_classes(names, items)
        check_images(items, path)
        self._check_boxes(items)
        index = self.class_to_idx
        items = [_item(item, item.pop('objects'), index, self.difficult == 'unknown') for item in items]
        names.check(classes, path, training=not self.test_mode)
        settings = f'classes={reprlib.repr(classes)}'
        kept = keep_labelled(items, self.filter_empty, path, settings)
        check_labels(kept, classes, path, training=not self.test_mode)
        return kept

    def _load_unannotated(self) -> list[dict]:
        self._metainfo['classes'] = check_classes(self.CLASSES, self.image_set_path)
        pictures: dict[str, dict] = {}
        items = [dict(img_path=self._picture(image, pictures), img_id=image) for image in self._read_ids()]
        check_images(items, self.image_set_path)
        return items

    def _read_ids(self) -> list[str]:
        path = self.image_set_path
        text = read_text(path, 'set data_root and split (or image_set_path) of the data set')
        ids = numbered_lines(path, text, skip_blank=True)
        for line, number in ids.items():
            if len(line.split()) > 1:
                refuse(path, f'line {number}', f'must hold the id of one image, got {line!r}')
            if line.lower().endswith((*PICTURE_EXTENSIONS, '.xml')) and not self._has_xml(line):
                mend = 'leave the extension out'
                refuse(path, f'line {number}', f'must hold the id of an image, got {line!r}: {mend}')
        return list(ids)

    def _has_xml(self, image_id: str) -> bool:
        return self.ann_prefix is not None and self.backend.exists(
            self.backend.join_path(self.ann_prefix, f'{image_id}.xml')
        )

    def _read_item(
        self, image_id: str, wanted: Collection[str] | None, names: ObjectNames, pictures: dict[str, dict]
    ) -> dict:
        """The item of an image without labels; ``objects`` are (name, is difficult, corners, place in the xml).

        ``pictures`` keeps what the folders hold.
        """
        path = self.backend.join_path(self.ann_prefix, f'{image_id}.xml')
        root = read_xml(path)
        width, height = picture_size(root, path)
        objects = []
        for number, entry in enumerate(root.findall('object'), start=1):
            name = entry.findtext('name', '').strip()
            if not name:
                refuse(path, f'object {number}', 'name is missing')
            where = f'object {number} ({name})'
            names.add(name, path, where)
            if wanted is not None and name not in wanted:
                continue
            text = entry.findtext('difficult', '0').strip()
            if text not in ('0', '1'):
                refuse(path, where, f'difficult must be 0 or 1, got {text!r}')
            has_box = self.difficult_boxes or text == '0'
            corners = box_corners(entry, path, where) if has_box else None
            objects.append((name, text == '1', corners, where))
        return dict(
            img_path=self._picture(image_id, pictures),
            img_id=image_id,
            width=int(width),
            height=int(height),
            objects=objects,
        )

    def _check_boxes(self, items: list[dict]) -> None:
        boxed = [
            (item, corners, where)
            for item in items
            for _, _, corners, where in item['objects']
            if corners is not None
        ]

        def place(index: int) -> tuple[str, str]:
            item, _, where = boxed[index]
            return self.backend.join_path(self.ann_prefix, f'{item["img_id"]}.xml'), where

        sizes = [(item['width'], item['height']) for item, _, _ in boxed]
        numbers = [corners for _, corners, _ in boxed]
        check_boxes(self.image_set_path, numbers, sizes, 'xmin, ymin, xmax, ymax', place)

    def _picture(self, image_id: str, pictures: dict[str, dict[str, list[str]]]) -> str:
        """The path of a picture; ``pictures`` keeps what is in a folder, by the name without extension."""
        path = self.backend.join_path(self.img_prefix, f'{image_id}.jpg')
        if not isinstance(self.backend, LocalBackend):
            return path
        folder, stem = Path(path).parent, Path(path).name.removesuffix('.jpg')
        if str(folder) not in pictures:
            there = pictures[str(folder)] = {}
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                if is_picture(file):
                    there.setdefault(file.stem, []).append(file.name)
        found = pictures[str(folder)].get(stem, [])
        if f'{stem}.jpg' in found or not found:
            return path
        if len(found) > 1:
            refuse(
                self.image_set_path, image_id, f'may be any of {", ".join(found)} in {folder}: leave only one'
            )
        return str(folder / found[0])

    def _find_classes(self, names: ObjectNames, items: list[dict]) -> tuple[str, ...]:
        """VOC's 20 classes, or all names in the folder of annotations if the objects have others than those."""
        if names.counts.keys() <= set(self.CLASSES):
            return tuple(self.CLASSES)
        # Those of other splits too: the classes of all splits are the same.
        if isinstance(self.backend, LocalBackend):
            read = {item['img_id'] for item in items}
            for path in sorted(Path(self.ann_prefix).rglob('*.xml')):
                if path.relative_to(self.ann_prefix).with_suffix('').as_posix() not in read:
                    for number, entry in enumerate(read_xml(str(path)).findall('object'), start=1):
                        name = entry.findtext('name', '').strip()
                        if name:
                            names.add(name, str(path), f'object {number} ({name})')
        classes = names.classes()
        warn(
            self.image_set_path,
            f"objects have other names than VOC's 20 classes, so the {len(classes)} names in {self.ann_prefix} are "
            f'the classes: {", ".join(classes)}; metainfo=dict(classes=[...]) selects others',
        )
        return classes

    def extra_repr(self) -> list[str]:
        """Lines on the policies, for ``repr``."""
        return [
            *super().extra_repr(),
            f'Difficult in training: \t{self.difficult}',
            f'Boxes of difficult objects: \t{self.difficult_boxes}',
            f'Empty images left out: \t{self.filter_empty}',
        ]


def _item(item: dict, objects: list[tuple], index: dict[str, int], difficult_is_unknown: bool) -> dict:
    """An item with labels and boxes."""
    present = {index[name] for name, difficult, *_ in objects if not difficult}
    difficult = {index[name] for name, difficult, *_ in objects if difficult}
    boxed = [(index[name], corners) for name, _, corners, _ in objects if corners is not None]
    # Edges between the pixels, counted from 0.
    boxes = [(left - 1, top - 1, right, bottom) for _, (left, top, right, bottom) in boxed]
    unknown = dict(gt_label_ignore=sorted(difficult - present)) if difficult_is_unknown else {}
    return (
        item
        | unknown
        | dict(
            gt_label=sorted(present),
            gt_label_difficult=sorted(difficult),
            gt_boxes=relative_boxes(boxes, item['width'], item['height']),
            gt_box_labels=np.array([label for label, _ in boxed], np.int64),
        )
    )

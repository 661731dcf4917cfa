"""COCO's instance annotations read as label sets, with the boxes kept for localisation checks."""

import os
import reprlib
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from mmengine.fileio import join_path
from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import (
    check_classes,
    check_images,
    check_labels,
    is_number,
    is_whole,
    json_entries,
    keep_labelled,
    load_json,
    relative_boxes,
)  # fmt: skip
from .box_conventions import check_boxes
from .checked_settings import CheckedSettings


@DATASETS.register_module()
class COCOMultiLabel(CheckedSettings, MultiLabelDataset):
    """Label sets of images from a COCO ``instances`` json, of 2014, 2017 or one's own.

    The json is read without pycocotools, and checked as a whole. Each item has

    * ``img_path``, ``img_id``, and the ``width`` and ``height`` that the json says;
    * ``gt_label`` and ``gt_label_ignore``, sorted class indices, maybe none (see ``crowd``);
    * ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original image, and ``gt_box_labels`` (K,) int64.

    A list of images and labels without boxes is read by :class:`mmlattn.PlainMultiLabel`.

    Args:
        ann_file (str): The json, with ``images``, ``annotations`` and ``categories``. An annotation without ``bbox``
            gives a label but no box.
        crowd (str): What an ``iscrowd`` annotation says of its class. ``'label'`` (default): present, as in the CSRA
            and ML-GCN codes. ``'ignore'``: neither present nor absent in evaluation (but a negative in training), if
            no single object shows the class as well. ``'drop'``: nothing, as if it were not in the file.
        filter_empty (bool): Whether to leave out images without any label, as the CSRA and ML-GCN codes do, after
            ``crowd`` and the choice of classes. Defaults to False.
        metainfo (dict, optional): ``classes`` selects and orders categories by name; annotations of others are left
            out. Defaults to all categories of the json, ordered by id. Blanks around a name do not count.
        **kwargs: Of mmpretrain's ``BaseDataset``. ``indices`` count after ``filter_empty``.

    Raises:
        UserError: Naming the entry and what to mend, for whatever is wrong in the json, for missing pictures,
            and in training for data without any label.
    """

    def __init__(
        self, ann_file: str, *args, crowd: str = 'label', filter_empty: bool = False, **kwargs
    ) -> None:
        check_choice('crowd', crowd, ('label', 'ignore', 'drop'))
        if kwargs.get('filter_cfg'):
            raise UserError(f'use filter_empty=True instead of filter_cfg={kwargs["filter_cfg"]}')
        self.crowd, self.filter_empty = crowd, filter_empty
        super().__init__(ann_file, *args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; returns an item for each image, in the order of the file."""
        content = load_json(self.ann_file, dict(images=list, annotations=list, categories=list))
        labels = self._read_categories(content['categories'])
        images = self._read_images(content['images'])
        annotations = self._read_annotations(content['annotations'], images, labels)
        items = [self._item(image, annotations[image_id]) for image_id, image in images.items()]
        check_images(items, self.ann_file)
        settings = f'classes={reprlib.repr(self.CLASSES)}, crowd={self.crowd!r}'
        kept = keep_labelled(items, self.filter_empty, self.ann_file, settings)
        check_labels(kept, self.CLASSES, self.ann_file, training=not self.test_mode)
        return kept

    def _read_categories(self, categories: list) -> dict[int, int | None]:
        """Class index of each category id, None for a category that is not selected; sets ``classes``."""
        ids: dict[str, int] = {}
        for category, reject in json_entries(self.ann_file, 'categories', categories, ('id', 'name')):
            category_id, name = category['id'], category['name']
            if not is_whole(category_id):
                reject(f'id must be a whole number, got {category_id!r}')
            if category_id in ids.values():
                reject(f'id {category_id} is there twice')
            if not isinstance(name, str):
                reject(f'name must be a string, got {name!r}')
            if not name.strip():
                reject('name is blank')
            name = name.strip()
            if name in ids:
                reject(f'the name {name!r} is there twice')
            ids[name] = category_id
        classes = self._metainfo.get('classes', sorted(ids, key=ids.get))
        self._metainfo['classes'] = check_classes(classes, self.ann_file, known=ids)
        index = self.class_to_idx
        return {category_id: index.get(name) for name, category_id in ids.items()}

    def _read_images(self, images: list) -> dict[int | str, dict]:
        """Images by id, in the order of the file."""
        by_id: dict[int | str, dict] = {}
        files: set[str] = set()
        keys = ('id', 'file_name', 'width', 'height')
        for image, reject in json_entries(self.ann_file, 'images', images, keys):
            image_id, name, width, height = (image[key] for key in keys)
            if not is_whole(image_id) and not isinstance(image_id, str):
                reject(f'id must be a whole number or a string, got {image_id!r}')
            if image_id in by_id:
                reject(f'id {image_id!r} is there twice')
            if not isinstance(name, str):
                reject(f'file_name must be a string, got {name!r}')
            if os.path.normpath(name) in files:
                reject(f'the file {name} is there twice')
            if not all(is_number(side) and side > 0 for side in (width, height)):
                reject(f'width and height must be above 0, got {width!r} and {height!r}')
            by_id[image_id] = image
            files.add(os.path.normpath(name))
        return by_id

    def _read_annotations(
        self, annotations: list, images: Mapping, labels: dict[int, int | None]
    ) -> dict[int | str, list[tuple[int, bool, list | None]]]:
        """(class index, is crowd, box) of each annotation of a selected class, by image id."""
        by_image, ids, boxed = defaultdict(list), set(), []
        keys = ('image_id', 'category_id')
        entries = json_entries(self.ann_file, 'annotations', annotations, keys)
        for number, (annotation, reject) in enumerate(entries):
            image_id, category_id = (annotation[key] for key in keys)
            annotation_id, crowd, box = (annotation.get(key) for key in ('id', 'iscrowd', 'bbox'))
            if not is_whole(category_id):
                reject(f'category_id must be a whole number, got {category_id!r}')
            if category_id not in labels:
                reject(f'category_id {category_id} is not among categories: add it there or mend the entry')
            if not (is_whole(image_id) or isinstance(image_id, str)) or image_id not in images:
                reject(f'image_id {image_id!r} is not among images: add it there or drop the entry')
            if not isinstance(annotation_id, str | None) and not is_whole(annotation_id):
                reject(f'id must be a whole number or a string, got {annotation_id!r}')
            if annotation_id is not None and annotation_id in ids:
                reject(f'id {annotation_id!r} is there twice')
            if not isinstance(crowd, int | None) or crowd not in (0, 1, None):
                reject(f'iscrowd must be 0, 1, true, false or null, got {crowd!r}')
            if box is not None and not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
                reject(f'bbox must be [x, y, width, height] in pixels, got {box!r}')
            if box is not None and min(box[2:]) < 0:
                reject(f'width and height of bbox must not be negative, got {box!r}: it is xywh, not xyxy')
            ids.add(annotation_id)
            label = labels[category_id]
            if label is not None and not (crowd and self.crowd == 'drop'):
                by_image[image_id].append((label, bool(crowd), box))
                if box is not None:
                    boxed.append((number, box, images[image_id]))
        check_boxes(
            self.ann_file,
            [box for _, box, _ in boxed],
            [(image['width'], image['height']) for _, _, image in boxed],
            'x, y, width, height',
            lambda index: (self.ann_file, f'annotations[{boxed[index][0]}]'),
        )
        return by_image

    def _item(self, image: dict, annotations: list[tuple[int, bool, list | None]]) -> dict:
        name = image['file_name']
        present = {label for label, is_crowd, _ in annotations if not is_crowd or self.crowd == 'label'}
        boxes = [(label, box) for label, _, box in annotations if box is not None]
        xywh = np.array([box for _, box in boxes], float).reshape(-1, 4)
        xyxy = np.hstack((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]))
        return dict(
            img_path=join_path(self.img_prefix, name) if self.img_prefix else name,
            img_id=image['id'],
            width=image['width'],
            height=image['height'],
            gt_label=sorted(present),
            gt_label_ignore=sorted({label for label, _, _ in annotations} - present),
            gt_boxes=relative_boxes(xyxy, image['width'], image['height']),
            gt_box_labels=np.array([label for label, _ in boxes], np.int64),
        )

    def extra_repr(self) -> list[str]:
        """Lines on the policies, for ``repr``."""
        return [
            *super().extra_repr(),
            f'Crowd: \t{self.crowd}',
            f'Empty images left out: \t{self.filter_empty}',
        ]

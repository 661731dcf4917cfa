"""COCO's instance annotations read as label sets, with the boxes kept for localisation checks."""

import reprlib
from collections import defaultdict

import numpy as np
from mmengine.fileio import join_path
from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice

from .annotation_files import (
    check_classes,
    check_images,
    check_labels,
    keep_labelled,
    load_json,
    relative_boxes,
)  # fmt: skip
from .box_conventions import check_boxes
from .checked_settings import CheckedSettings, refuse_filter_cfg
from .coco_json import CocoAnnotations, read_annotations, read_categories, read_images


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
            and ML-GCN codes. ``'ignore'``: unknown, if no single object shows the class as well. ``'drop'``: nothing,
            as if it were not in the file.
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
        refuse_filter_cfg(kwargs)
        self.crowd, self.filter_empty = crowd, filter_empty
        super().__init__(ann_file, *args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; returns an item for each image, in the order of the file."""
        content = load_json(self.ann_file, dict(images=list, annotations=list, categories=list))
        categories = read_categories(self.ann_file, content['categories'])
        labels = self._select(categories)
        images = read_images(self.ann_file, content['images'])
        annotations = read_annotations(self.ann_file, content['annotations'], images, categories.values())
        items = self._items(list(images.values()), annotations, labels)
        check_images(items, self.ann_file)
        settings = f'classes={reprlib.repr(self.CLASSES)}, crowd={self.crowd!r}'
        kept = keep_labelled(items, self.filter_empty, self.ann_file, settings)
        check_labels(kept, self.CLASSES, self.ann_file, training=not self.test_mode)
        return kept

    def _select(self, ids: dict[str, int]) -> list[int | None]:
        """Class index of each category, None for a category that is not selected; sets ``classes``."""
        classes = self._metainfo.get('classes', sorted(ids, key=ids.get))
        self._metainfo['classes'] = check_classes(classes, self.ann_file, known=ids)
        index = self.class_to_idx
        return [index.get(name) for name in ids]

    def _items(
        self, images: list[dict], annotations: CocoAnnotations, labels: list[int | None]
    ) -> list[dict]:
        """An item for each image, of the annotations of selected classes."""
        by_image = defaultdict(list)
        dropped = annotations.crowd & (self.crowd == 'drop')
        selected = np.array([label is not None for label in labels], bool)[annotations.category]
        kept = np.flatnonzero(selected & ~dropped)
        for number in kept.tolist():
            box = annotations.boxes[number] if annotations.boxed[number] else None
            label = labels[annotations.category[number]]
            by_image[int(annotations.image[number])].append((label, bool(annotations.crowd[number]), box))
        boxed = kept[annotations.boxed[kept]]
        sizes = np.array([(image['width'], image['height']) for image in images], float).reshape(-1, 2)
        check_boxes(
            self.ann_file,
            annotations.boxes[boxed],
            sizes[annotations.image[boxed]],
            'x, y, width, height',
            lambda index: (self.ann_file, f'annotations[{boxed[index]}]'),
        )
        return [self._item(image, by_image[number]) for number, image in enumerate(images)]

    def _item(self, image: dict, annotations: list[tuple[int, bool, np.ndarray | None]]) -> dict:
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

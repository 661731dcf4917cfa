"""Label sets of pictures from a label file of any format that people have."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmengine.fileio import join_path
from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import (
    check_counts,
    check_images,
    keep_labelled,
    no_collection,
    relative_boxes,
    some,
    tell,
)
from .checked_settings import CheckedSettings, refuse_filter_cfg
from .label_files import PRESENT, UNKNOWN, LabelTable, read_label_file
from .label_files.boxed import whole
from .lookalikes import is_local, similar_name


@DATASETS.register_module()
class MultiLabelFile(CheckedSettings, MultiLabelDataset):
    """Label sets of pictures from a csv, txt, json or xml file, or a folder: see ``docs/label_files.md``.

    The format is found out and said in the log, and the file is checked as a whole. Each item has

    * ``img_path``, and the ``width`` and ``height`` that the file says, if it does;
    * ``group``, where the file says one: pictures of one group do not go into different splits;
    * ``gt_label``, sorted indices of the present classes, maybe none;
    * ``gt_label_ignore``, sorted indices of the unknown classes, where there are any;
    * where the format has boxes, ``gt_boxes`` (K, 4) float32 xyxy in [0, 1] of the original picture, and
      ``gt_box_labels`` (K,) int64.

    Paths in the file are relative to ``data_root`` and ``data_prefix``, or without both to the file.

    Args:
        ann_file (str): The file or folder.
        format (str, optional): One of ``mmlattn.datasets.label_files.FORMATS``, or ``'csv'``. Defaults to what is
            found out.
        split (str, optional): The pictures to take, where the file says a split of each: ``'train'`` for instance,
            or ``'all'``.
        unlisted (str, optional): What a class that is not named for a picture means: ``'absent'`` (assume negative)
            or ``'unknown'`` (partial labels). Defaults to what the format means by it, which is ``'absent'`` unless
            the file itself says which classes are absent.
        other_classes (str): ``'refuse'`` (default) or ``'leave_out'`` labels that ``metainfo.classes`` does not have.
        filter_empty (bool): Whether to leave out pictures without any present class. Defaults to False.
        read (dict, optional): What is not to be found out of a table, such as ``dict(separator=' ')``.
        **kwargs: Of mmpretrain's ``BaseDataset``; ``indices`` count after ``split`` and ``filter_empty``.
            ``metainfo=dict(classes=[...])``, or the path of a list, names the classes. Defaults to those that the
            file declares, or else to all names in it, sorted.

    Raises:
        UserError: Naming file, line or entry and what to mend, for whatever is wrong in it, for missing pictures,
            and in training for data without any label.
    """

    def __init__(
        self,
        ann_file: str,
        *args,
        format: str | None = None,
        split: str | None = None,
        unlisted: str | None = None,
        other_classes: str = 'refuse',
        filter_empty: bool = False,
        read: Mapping | None = None,
        **kwargs,
    ) -> None:
        if unlisted is not None:
            check_choice('unlisted', unlisted, ('absent', 'unknown'))
        if not isinstance(split, str | None):
            raise UserError(f"split must be the name of one, such as 'train', got {split!r}")
        if not isinstance(read, Mapping | None):
            raise UserError(f"read must be a dict such as dict(separator=' '), got {read!r}")
        refuse_filter_cfg(kwargs)
        self.format, self.split, self.unlisted, self.other_classes = format, split, unlisted, other_classes
        self.filter_empty, self.read = filter_empty, dict(read or {})
        super().__init__(ann_file, *args, **kwargs)

    def full_init(self) -> None:
        """Load the file and pack the items."""
        with no_collection():
            super().full_init()

    def load_data_list(self) -> list[dict]:
        """Read and check the file; returns an item for each picture of the split, in the order of the file."""
        wanted = self._metainfo.get('classes')
        options = dict(unlisted=self.unlisted, other_classes=self.other_classes)
        table = read_label_file(self.ann_file, self.format, wanted, **options, **self.read)
        self._metainfo['classes'] = table.classes
        for note in table.notes:
            tell(self.ann_file, note)
        total, table = len(table), self._of_split(table)
        unlisted = 'absent' if table.closed else 'unknown'
        tell(
            self.ann_file,
            f'read as {table.format}: {len(table)} of {total} pictures, {len(table.classes)} classes, what is not '
            f'named is {unlisted}',
        )
        items = self._items(table)
        check_images(items, self.ann_file)
        settings = f'classes={some(table.classes)}, split={self.split!r}'
        kept = keep_labelled(items, self.filter_empty, self.ann_file, settings)
        columns = table.columns
        counts = np.bincount(columns.columns[columns.values == PRESENT], minlength=len(table.classes))
        check_counts(counts, len(kept), table.classes, self.ann_file, training=not self.test_mode)
        return kept

    def _of_split(self, table: LabelTable) -> LabelTable:
        splits = table.columns.splits
        if splits is None or not any(splits):
            if self.split not in (None, 'all'):
                raise UserError(
                    f'{self.ann_file}: says no split of its pictures, but split={self.split!r}: leave split out, or '
                    'write a column split'
                )
            return table
        names = sorted(set(splits) - {None})
        blank = f' ({splits.count(None)} pictures have none)' if None in splits else ''
        if self.split is None:
            raise UserError(
                f'{self.ann_file}: has the splits {some(names)}{blank}: take one, such as split={names[-1]!r}, or '
                "'all'"
            )
        if self.split == 'all':
            return table
        chosen = np.flatnonzero(np.array(splits, object) == self.split)
        if not len(chosen):
            meant = similar_name(self.split, names)
            asks = f'did you mean {meant}? ' if meant else ''
            raise UserError(
                f'{self.ann_file}: has no picture of split={self.split!r}: {asks}its splits are {some(names)}{blank}'
            )
        return table.take(chosen)

    def _items(self, table: LabelTable) -> list[dict]:
        columns, count = table.columns, len(table)
        items = [dict(img_path=path) for path in self._paths(table)]
        _set_slices(items, 'gt_label', *_labels_of(columns.rows, columns.columns, columns.values == PRESENT))
        if table.closed:
            unknown = _labels_of(columns.rows, columns.columns, columns.values == UNKNOWN)
        else:
            unknown = np.nonzero(table.matrix() == UNKNOWN)
        if len(unknown[0]):
            _set_slices(items, 'gt_label_ignore', *unknown, only_some=True)
        if columns.sizes is not None:
            for item, (width, height) in zip(items, columns.sizes.tolist(), strict=True):
                if width == width:
                    item.update(width=whole(width), height=whole(height))
        if columns.groups is not None:
            for item, group in zip(items, columns.groups, strict=True):
                if group is not None:
                    item['group'] = group
        if columns.boxes is not None:
            boxes = columns.boxes
            corners = relative_boxes(boxes.corners, *columns.sizes[boxes.rows].T)
            bounds = np.searchsorted(boxes.rows, np.arange(count + 1)).tolist()
            labels = boxes.columns.astype(np.int64)
            for number, item in enumerate(items):
                span = slice(bounds[number], bounds[number + 1])
                item['gt_boxes'], item['gt_box_labels'] = corners[span], labels[span]
        return items

    def _paths(self, table: LabelTable) -> list[str]:
        """The path of each picture, relative to the prefix or else to the label file."""
        prefix, own = self.img_prefix, picture_folder(self.ann_file, table.format)
        # A folder has its pictures where it is, unless data_prefix says another; data_root only says where it is.
        within = table.format == 'folders' or (table.format == 'voc' and own != self.ann_file)
        if not prefix or (within and os.path.normpath(prefix) == os.path.normpath(self.data_root or '.')):
            prefix = own
        names = table.columns.images
        if not prefix:
            return list(names)
        join = os.path.join if is_local(prefix) else join_path
        return [join(prefix, name) for name in names]

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        return [
            *super().extra_repr(),
            f'Split: \t{self.split}',
            f'Unlisted classes: \t{self.unlisted}',
            f'Empty images left out: \t{self.filter_empty}',
        ]


def picture_folder(ann_file: str, format: str) -> str:
    """What paths in a label file are relative to, where nothing else is said."""
    if format == 'folders':
        return ann_file
    if format == 'voc':
        root = Path(ann_file).parent if Path(ann_file).name == 'Annotations' else Path(ann_file)
        return str(root / 'JPEGImages') if (root / 'JPEGImages').is_dir() else ann_file
    return os.path.dirname(ann_file)


def _labels_of(rows: np.ndarray, columns: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[chosen], columns[chosen]


def _set_slices(
    items: list[dict], key: str, rows: np.ndarray, labels: np.ndarray, only_some: bool = False
) -> None:
    """Give each item the labels of its row, or only those that have any."""
    bounds = np.searchsorted(rows, np.arange(len(items) + 1)).tolist()
    labels = labels.tolist()
    for number, item in enumerate(items):
        start, end = bounds[number], bounds[number + 1]
        if start < end or not only_some:
            item[key] = labels[start:end]

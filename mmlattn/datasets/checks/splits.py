"""The items of a data set as arrays: N pictures, C classes, nothing decoded."""

import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset

from mmlattn.structures.labels import IGNORED_FIELDS

from ..noisy_labels import NoisyLabels
from ..unreadable_pictures import loader_in

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False)
class Split:
    """What the items of a split say.

    Args:
        name (str): ``'train'``, ``'val'``, ``'test'``.
        classes (tuple[str]): Names of C classes, or their numbers where the data set has no names.
        named (bool): Whether it has.
        paths (list[str | None]): Of N pictures; None for what is in memory only.
        crops (list[tuple | None]): Of N pictures, the box where a sample is a part of its picture.
        present (csr_array): Shape (N, C), 1 where a picture has a class.
        unknown (csr_array): Shape (N, C), 1 where nobody knows: neither a positive nor a negative.
        boxes (np.ndarray): Shape (C,), boxes of each class.
        sizes (np.ndarray): Shape (N, 2), width and height as the annotations tell; 0 where they do not.
        groups (list[str | None]): Of N pictures, what must not be in two splits, such as a video.
        stray (dict[str, list[int]]): Labels of pictures that are none of the C classes.
        loaders (tuple): What loads the pictures of each part of the split.
        part (np.ndarray): Shape (N,), which of these.
    """

    name: str
    classes: tuple[str, ...]
    named: bool
    paths: list[str | None]
    crops: list[tuple | None]
    present: 'csr_array'
    unknown: 'csr_array'
    boxes: np.ndarray
    sizes: np.ndarray
    groups: list[str | None]
    stray: dict[str, list[int]]
    loaders: tuple[LoadImageFromFile, ...]
    part: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def positives(self) -> np.ndarray:
        """Pictures that have each class, (C,)."""
        return np.asarray(self.present.sum(axis=0)).reshape(-1)

    @cached_property
    def unknowns(self) -> np.ndarray:
        """Pictures of which it is not known, (C,)."""
        return np.asarray(self.unknown.sum(axis=0)).reshape(-1)

    @cached_property
    def known(self) -> np.ndarray:
        """Pictures that have each class or do not, (C,)."""
        return len(self) - self.unknowns

    @property
    def shares(self) -> np.ndarray:
        """Of the pictures where a class is known, the share that has it, (C,); NaN where it is known of none."""
        return self.positives / np.where(self.known > 0, self.known, np.nan)

    @cached_property
    def labels_each(self) -> np.ndarray:
        """Labels of each picture, (N,)."""
        return np.asarray(self.present.sum(axis=1)).reshape(-1)

    @cached_property
    def places(self) -> list[str | None]:
        """Where the N files really are, links followed."""
        return real_places(self.paths)

    @cached_property
    def samples(self) -> list[tuple | None]:
        """The N files with what is cut out of each, equal for the same sample."""
        pairs = zip(self.places, self.crops, strict=True)
        return [None if place is None else (place, crop) for place, crop in pairs]

    def together(self) -> np.ndarray:
        """Pictures that have both of two classes, (C, C)."""
        return (self.present.T @ self.present).toarray()

    def summary(self) -> dict:
        """The numbers of the split, for json."""
        columns = zip(self.classes, self.positives, self.known, self.unknowns, self.boxes, strict=True)
        return dict(
            pictures=len(self),
            unlabelled=int((self.labels_each == 0).sum()),
            labels=int(self.positives.sum()),
            boxes=int(self.boxes.sum()),
            classes=[
                dict(
                    name=name,
                    present=int(yes),
                    absent=int(all_known - yes),
                    unknown=int(open_),
                    boxes=int(boxes),
                )
                for name, yes, all_known, open_, boxes in columns
            ],
        )


@dataclass
class _Columns:
    """Fields of items, one after the other, as they are read."""

    count_boxes: bool
    paths: list = field(default_factory=list)
    crops: list = field(default_factory=list)
    groups: list = field(default_factory=list)
    sizes: list = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=lambda: dict(present=[], unknown=[]))
    labels: dict[str, list[int]] = field(default_factory=lambda: dict(present=[], unknown=[]))
    boxes: list = field(default_factory=list)
    told: bool = False

    def add(self, item: dict) -> bool:
        """Append an item; False if its labels are no indices of classes."""
        self.paths.append(item.get('img_path'))
        crop = item.get('crop_box')
        self.crops.append(None if crop is None else tuple(crop))
        self.groups.append(item.get('group'))
        self.sizes += (item.get('width') or 0, item.get('height') or 0)
        scores = item.get('gt_score')
        if scores is not None:
            scores = np.asarray(scores)
            present, unknown = np.flatnonzero(scores > 0).tolist(), np.flatnonzero(scores < 0).tolist()
            self.told = True
        else:
            self.told |= 'gt_label' in item
            present, unknown = _indices(item.get('gt_label')), []
        for name in IGNORED_FIELDS:
            if item.get(name) is not None:
                unknown = unknown + (_indices(item[name]) or [])
        if present is None:
            return False
        if unknown:
            unknown = set(unknown) - set(present)
        for name, labels in (('present', present), ('unknown', unknown)):
            self.numbers[name].append(len(labels))
            self.labels[name].extend(labels)
        boxes = item.get('gt_box_labels') if self.count_boxes else None
        if boxes is not None and len(boxes):
            self.boxes.append(boxes)
        return True


def _indices(labels) -> list[int] | None:
    """A list of the labels in whatever form, or None if they are no whole numbers."""
    if type(labels) is not list:
        if labels is None:  # as mmpretrain's VOC says where there are no annotations
            return []
        array = np.asarray(labels)
        return None if array.dtype.kind not in 'iu' and array.size else array.reshape(-1).tolist()
    if labels and type(labels[0]) is not int:
        return _indices(np.asarray(labels))
    return labels


def leaves(dataset) -> Iterator:
    """The data sets inside of wrappers that join or repeat them, each picture once."""
    if isinstance(dataset, BaseDataset | NoisyLabels):
        yield dataset
        return
    # mmengine's slice, from num_batch_per_epoch, holds a data set as _dataset.
    inner = getattr(dataset, '__dict__', {})
    parts = inner.get('datasets') or [inner.get('dataset', inner.get('_dataset'))]
    for part in parts:
        if part is not None:
            yield from leaves(part)


def loader_of(dataset) -> LoadImageFromFile:
    """What loads the pictures of a data set; one with mmcv's defaults where its pipeline has none."""
    return loader_in(transforms_of(dataset)) or LoadImageFromFile()


def transforms_of(leaf) -> Sequence:
    """The steps of the pipeline that one of :func:`leaves` has, maybe within."""
    while not hasattr(leaf, 'pipeline') and hasattr(leaf, 'dataset'):
        leaf = leaf.dataset
    return getattr(getattr(leaf, 'pipeline', None), 'transforms', ())


def items_of(dataset, complete: bool) -> Iterator[dict]:
    """The items of a data set before its pipeline.

    Args:
        dataset: One of :func:`leaves`.
        complete (bool): As it gives them. Otherwise as it keeps them, several times faster: without what it reads
            from a picture when an item is asked for.
    """
    dataset.full_init()
    if complete or not isinstance(dataset, BaseDataset):
        yield from map(dataset.get_data_info, range(len(dataset)))
    elif dataset.serialize_data:
        content, start = memoryview(dataset.data_bytes), 0
        for end in dataset.data_address.tolist():
            yield pickle.loads(content[start:end])  # written by this process itself
            start = end
    else:
        yield from dataset.data_list


def read_split(name: str, dataset, complete: bool = False) -> Split | None:
    """What a data set, built and of whatever wrappers, has in it.

    Args:
        name (str): What to call it.
        dataset: Any data set of mmengine.
        complete (bool): As for :func:`items_of`; otherwise boxes are not counted.

    Returns:
        Split | None: None where the items do not say which classes a picture has, as for detection, several tasks or
        training without labels.
    """
    columns, loaders, counts = _Columns(complete), [], []
    for leaf in leaves(dataset):
        before = len(columns.paths)
        if not all(map(columns.add, items_of(leaf, complete))):
            return None
        loaders.append(loader_of(leaf))
        counts.append(len(columns.paths) - before)
    if not columns.told:
        return None
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    most = max((max(labels, default=-1) for labels in columns.labels.values()), default=-1) + 1
    classes = tuple(map(str, names or range(most)))
    matrices, stray = {}, {}
    for kind, labels in columns.labels.items():
        rows = np.repeat(np.arange(len(columns.paths)), columns.numbers[kind])
        labels = np.asarray(labels, np.int64)
        inside = (labels >= 0) & (labels < len(classes))
        matrices[kind] = _indicator(rows[inside], labels[inside], (len(columns.paths), len(classes)))
        for row, label in zip(rows[~inside].tolist(), labels[~inside].tolist(), strict=True):
            stray.setdefault(columns.paths[row] or f'picture {row}', []).append(label)
    boxes = np.concatenate(columns.boxes) if columns.boxes else np.array([], np.int64)
    return Split(
        name=name,
        classes=classes,
        named=bool(names),
        paths=columns.paths,
        crops=columns.crops,
        present=matrices['present'],
        unknown=matrices['unknown'],
        boxes=np.bincount(boxes[(boxes >= 0) & (boxes < len(classes))], minlength=len(classes)),
        sizes=np.asarray(columns.sizes, np.int64).reshape(-1, 2),
        groups=columns.groups,
        stray=stray,
        loaders=tuple(loaders),
        part=np.repeat(np.arange(len(counts)), counts),
    )


def _indicator(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> 'csr_array':
    """Ones at the places given, however often."""
    from scipy.sparse import csr_array

    matrix = csr_array((np.ones(len(rows), np.int32), (rows, columns)), shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def real_places(paths: Sequence[str | None]) -> list[str | None]:
    """Where files really are, links followed, as ``os.path.realpath`` tells; with one look at each folder."""
    folders, linked, places = {}, {}, []
    for path in paths:
        if path is None:
            places.append(None)
            continue
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder], linked[folder] = os.path.realpath(folder), _links(folder)
        real = os.path.realpath(path) if name in linked[folder] else f'{folders[folder]}{os.sep}{name}'
        places.append(real)
    return places


def _links(folder: str) -> Iterable[str]:
    try:
        with os.scandir(folder or '.') as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:  # not on this machine
        return ()

"""Which labels the pictures of a data set have, and how many have each, by what the data set says of itself."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from mmengine.dataset import RepeatDataset
from torch import Tensor
from torch.utils.data import ConcatDataset

from mmlattn.engine.reproducibility import SeededDataset
from mmlattn.structures.labels import UNKNOWN_FIELDS
from mmlattn.utils.errors import UserError


def picture_labels(dataset) -> Iterator[set[int]]:
    """The labels of each picture, in the order of the indices.

    The data set has ``get_cat_ids(index)``, as those of mmengine, mmpretrain and mmdet have, or is a
    ``ConcatDataset``, ``RepeatDataset`` or ``SeededDataset`` of such.

    Raises:
        UserError: If the data set cannot tell its labels.
    """
    if isinstance(dataset, SeededDataset):
        return picture_labels(dataset.dataset)
    if isinstance(dataset, RepeatDataset):
        return chain.from_iterable(picture_labels(dataset.dataset) for _ in range(dataset.times))
    if isinstance(dataset, ConcatDataset):
        return chain.from_iterable(map(picture_labels, dataset.datasets))
    return (_labels_of(dataset, index) for index in range(len(dataset)))


def count_labels(dataset, num_classes: int) -> Tensor:
    """Images with each of C labels, as often as an epoch shows them, (C,) long; a label listed twice counts once.

    Data sets as for :func:`picture_labels`.

    Raises:
        UserError: If the data set cannot tell its labels, or has one outside of 0 to C - 1.
    """
    return count_known_labels(dataset, num_classes)[0]


def count_known_labels(dataset, num_classes: int) -> Tensor:
    """As :func:`count_labels`, and images of which it is known whether they have the label: (2, C) long.

    Unknown are the labels that an image lists as such, unless it has them: those that losses leave out.
    """
    if isinstance(dataset, SeededDataset):
        return count_known_labels(dataset.dataset, num_classes)
    if isinstance(dataset, RepeatDataset):
        return dataset.times * count_known_labels(dataset.dataset, num_classes)
    if isinstance(dataset, ConcatDataset):
        return sum(count_known_labels(part, num_classes) for part in dataset.datasets)
    present, unknown = Counter(), Counter()
    for index, labels in enumerate(picture_labels(dataset)):
        present.update(labels)
        unknown.update(_ignored_of(dataset, index) - labels)
    outside = [label for label in (*present, *unknown) if not 0 <= label < num_classes]
    if outside:
        raise UserError(
            f'{type(dataset).__name__} has images with label {outside[0]}, but the head has num_classes='
            f'{num_classes}, labels 0 to {num_classes - 1}: set num_classes, or correct the annotations'
        )
    return torch.tensor(
        [
            [present[label] for label in range(num_classes)],
            [len(dataset) - unknown[label] for label in range(num_classes)],
        ]
    )


def _labels_of(dataset, index: int) -> set[int]:
    try:
        return set(map(int, dataset.get_cat_ids(index)))
    except (AttributeError, KeyError, NotImplementedError, TypeError) as error:
        raise UserError(
            f'{type(dataset).__name__} cannot tell which labels its images have: get_cat_ids({index}) gives '
            f'{error!r}. Use a data set of labelled images such as mmpretrain.MultiLabelDataset, or give the head '
            'label_freq=[images with each label]'
        ) from error


def _ignored_of(dataset, index: int) -> set[int]:
    if not hasattr(dataset, 'get_data_info'):
        return set()
    info = dataset.get_data_info(index)
    listed: Iterable = (info.get(field, ()) for field in UNKNOWN_FIELDS)
    return set(map(int, chain.from_iterable(listed)))

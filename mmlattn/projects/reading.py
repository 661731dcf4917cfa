"""The labels that a project begins with, checked against the folder of pictures."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlattn.datasets.annotation_files import missing_images, why_missing
from mmlattn.datasets.checks.splits import real_places
from mmlattn.datasets.label_files import LabelColumns, LabelTable, read_label_file
from mmlattn.datasets.label_files.table_layout import NOT_CLASSES
from mmlattn.datasets.label_files.table_rows import one_of
from mmlattn.datasets.picture_names import PICTURE_EXTENSIONS
from mmlattn.utils.errors import UserError


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and what is said of them.

    Args:
        table (LabelTable): N records of C classes.
        labels (np.ndarray): (N, C), 1 present, 0 absent, -1 unknown.
        paths (list[str]): N files.
    """

    table: LabelTable
    labels: np.ndarray
    paths: list[str]


def read_pictures(pictures: Path, labels: Path, format: str | None, **options) -> LabelledPictures:
    """Read a label file of any format; ``options`` are those of ``read_label_file``.

    Raises:
        UserError: If a path is wrong, pictures are missing, or the labels leave nothing to learn.
    """
    if not pictures.is_dir():
        raise UserError(f'{pictures} is no folder: PICTURES is the folder that the paths in LABELS begin at')
    table = read_label_file(str(labels), format=format, **options)
    paths = [os.path.join(pictures, image) for image in table.columns.images]
    missing = missing_images(paths)
    if missing:
        raise UserError(
            f'{labels}: {len(missing)} of {len(paths)} pictures are missing, first {missing[0]}: '
            + why_missing(missing, 'PICTURES must be the folder that the paths in LABELS begin at')
        )
    _check_classes(labels, table.classes)
    matrix = table.matrix()
    if not (matrix == 1).any():
        raise UserError(
            f'{labels}: none of its {len(paths)} pictures has a label, so there is nothing to learn'
        )
    if not (matrix == 0).any():
        raise UserError(
            f'{labels}: says of no class that it is absent from a picture, so a model that says yes to all would be '
            'right: write what is absent too, or leave out --unlisted unknown'
        )
    return LabelledPictures(table, matrix, paths)


def _check_classes(labels: Path, classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise UserError(
            f'{labels}: has one class only, {", ".join(classes)}: add another, such as one for pictures without it'
        )
    taken = one_of(classes, NOT_CLASSES)
    if taken:
        raise UserError(
            f'{labels}: a class is called {classes[taken[0]]!r}, as a column of labels.csv will be: call it otherwise'
        )


def unlisted_pictures(pictures: Path, paths: list[str]) -> list[str]:
    """Picture files below the folder that the labels do not name."""
    named = set(real_places(paths))
    there = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(pictures)
        for name in names
        if name.lower().endswith(PICTURE_EXTENSIONS)
    )
    return [path for path, place in zip(there, real_places(there), strict=True) if place not in named]


def with_split(pictures: LabelledPictures, splits: list[str], groups: list[str | None] | None) -> LabelTable:
    """A closed table that says split and group of each picture, and what is present and what unknown."""
    columns = pictures.table.columns
    rows, classes = np.nonzero(pictures.labels)
    records = LabelColumns(
        columns.images,
        pictures.table.classes,
        rows,
        classes,
        pictures.labels[rows, classes],
        columns.where,
        splits,
        groups,
    )
    return LabelTable(records, pictures.table.classes, 'csv-onehot')

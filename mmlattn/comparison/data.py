"""The three splits of a config, their labels, and what identifies them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.structures import DataSample

from mmlattn.apis.tested import split_dataset
from mmlattn.datasets.checks.splits import real_places
from mmlattn.datasets.unknown_labels import check_unknown_arrive
from mmlattn.evaluation.functional.tuning import LEAST_PICTURES, fold_numbers
from mmlattn.structures.frames import has_area
from mmlattn.structures.labels import label_matrix
from mmlattn.utils.arrays import as_array
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import dataset_of, type_name

from .features import FLIP, PLAIN, Extractor, pipeline_recipe, store_views
from .stored import StoredFeatures

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class SplitData:
    """A split on stored features.

    Attributes:
        dataset (StoredFeatures): One view for val and test, all for train.
        targets (ndarray): (N, C) int8, 1 present, 0 absent, -1 unknown.
        identity (str): Of the features and the labels.
        boxed (bool): Whether pictures have boxes.
    """

    dataset: StoredFeatures
    targets: np.ndarray
    identity: str
    boxed: bool

    @property
    def channels(self) -> int:
        """D, of maps (N, D, h, w), tokens (N, L, D) or vectors (N, D)."""
        shape = self.dataset.maps[0].shape
        return shape[1] if len(shape) == 4 else shape[-1]


def read_splits(cfg: Config, hold_out: float = 0.0) -> dict[str, BaseDataset]:
    """The data sets of a config with its test pipeline.

    Args:
        cfg (Config): With ``train_dataloader``, ``val_dataloader`` and ``test_dataloader``.
        hold_out (float): Share of the training pictures to choose by, in the place of the config's val split.

    Raises:
        UserError: If classes differ, what is chosen by is what is tested on, or labels do not arrive.
    """
    pipeline = dataset_of(cfg).get('pipeline') or [{}]
    if type_name(pipeline[-1]) != 'PackInputs':
        raise UserError(
            'test_dataloader.dataset.pipeline must end with PackInputs, from which labels come, got '
            f'{type_name(pipeline[-1]) or "none"}'
        )
    found = {split: _split(cfg, split) for split in SPLITS if split != 'val' or not hold_out}
    for split, dataset in found.items():
        check_unknown_arrive(dataset, f'the {split} data set with the test pipeline')
    classes = {split: tuple(dataset.metainfo.get('classes') or ()) for split, dataset in found.items()}
    if len(set(classes.values())) > 1 or not classes['train']:
        raise UserError(
            f'the splits must have the same classes, got { ({s: len(c) for s, c in classes.items()}) } of them: set '
            'metainfo.classes of the data sets'
        )
    places = {
        split: set(real_places([dataset.get_data_info(n)['img_path'] for n in range(len(dataset))]))
        for split, dataset in found.items()
    }
    for one, other in (('val', 'test'), ('train', 'test'), ('train', 'val')):
        shared = len(places.get(one, set()) & places.get(other, set()))
        if shared:
            raise UserError(
                f'{shared} pictures are in {one} and in {other}: learning rates are chosen on val, so no other split '
                'may have its pictures; where a config has no val split of its own, --hold-out 0.15 takes one out '
                'of train'
            )
    return found


def _split(cfg: Config, split: str) -> BaseDataset:
    try:
        dataset = split_dataset(cfg, split)
    except UserError as error:
        if split == 'val':
            raise UserError(f'{error}; --hold-out 0.15 takes pictures to choose by out of train') from error
        raise
    if 'img_path' not in dataset.get_data_info(0):
        raise UserError(
            f'{type(dataset).__name__} has its pictures in memory, and stored features are found again by picture '
            'files: use a data set of files, such as CustomDataset or mmlattn.MultiLabelFile'
        )
    return dataset


def check_labels(data: Mapping[str, SplitData]) -> None:
    """Raises ``UserError`` where no learning rate or threshold can be chosen, or nothing be said of a test."""
    for split, least in (('val', LEAST_PICTURES), ('test', 1)):
        pictures, labels = len(data[split].targets), int((data[split].targets == 1).sum())
        if pictures < least or not labels:
            raise UserError(
                f'the {split} split has {pictures} pictures with {labels} labels on them, and needs {least} or more, '
                'and labels: give it more pictures, or a larger --hold-out'
            )


def prepare(
    cfg: Config,
    extractor: Extractor,
    folder: Path,
    crops: int = 0,
    flip: bool = True,
    hold_out: float = 0.0,
    batch_size: int = 32,
    workers: int = 1,
) -> dict[str, SplitData]:
    """Store what is missing of the features of all splits, and open them.

    Args:
        cfg (Config): Of the data.
        extractor (Extractor): The frozen backbone.
        folder (Path): Of the stored features.
        crops (int): Further views of each training picture.
        flip (bool): Whether their mirror images are one.
        hold_out (float): As for :func:`read_splits`.
        batch_size, workers: As for :func:`store_views`.
    """
    recipe = pipeline_recipe(cfg.test_dataloader.dataset.pipeline)
    further = [*([FLIP] if flip else []), *(f'crop{number}' for number in range(1, crops + 1))]
    sources, files = read_splits(cfg, hold_out), {}
    for split, source in sources.items():
        views = [PLAIN, *(further if split == 'train' else [])]
        files[split] = store_views(source, recipe, extractor, views, folder, split, batch_size, workers)
    opened = {
        split: StoredFeatures(source, [str(file.maps) for file in files[split].values()])
        for split, source in sources.items()
    }
    if hold_out:
        opened |= _hold_out(opened['train'], hold_out)
    return {split: _split_data(opened[split]) for split in SPLITS}


def _hold_out(train: StoredFeatures, share: float) -> dict[str, StoredFeatures]:
    """Part of the training pictures to choose by, with like shares of each class."""
    folds = max(round(1 / share), 2)
    numbers = fold_numbers(_targets(train.samples, len(train.metainfo['classes'])), folds, seed=0)
    files = [str(maps.filename) for maps in train.maps]
    return dict(
        train=StoredFeatures(train.source, files, np.flatnonzero(numbers != 0)),
        val=StoredFeatures(train.source, files[:1], np.flatnonzero(numbers == 0)),
    )


def _split_data(dataset: StoredFeatures) -> SplitData:
    targets = _targets(dataset.samples, len(dataset.metainfo['classes']))
    boxes = [as_array(sample.get('gt_boxes', np.zeros((0, 4)))) for sample in dataset.samples]
    marks = hashlib.sha256(targets.tobytes())
    for maps in dataset.maps:
        marks.update(str(maps.filename).rpartition('/')[2].encode())
    marks.update(dataset.indices.tobytes())
    for found in boxes:
        marks.update(found.tobytes())
    boxed = any(has_area(found).any() for found in boxes)
    return SplitData(dataset, targets, marks.hexdigest(), boxed)


def _targets(samples: list[DataSample], num_classes: int) -> np.ndarray:
    return label_matrix(samples, num_classes).char().numpy()

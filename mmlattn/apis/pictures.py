"""Pictures as the network of a config sees them in tests: from files, or from its test data set."""

from collections.abc import Iterable
from pathlib import Path

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch import Tensor

from mmlattn.utils.errors import UserError

#: Height and width, in pixels, of the arrays that data sets without picture files keep.
ARRAY_SIDES = dict(CIFAR10=32, CIFAR100=32, MNIST=28, FashionMNIST=28)


def check_pictures(files: Iterable[str | Path]) -> None:
    """Raises ``UserError`` for the first file that is no picture, before anything slow is done for the others."""
    for file in map(Path, files):
        if file.is_dir():
            raise UserError(f'{file} is a folder: name the pictures, for example {file}/*.jpg')
        if not file.is_file():
            raise UserError(f'{file} is not there')
        if mmcv.imread(str(file), 'unchanged') is None:
            raise UserError(f'{file} is no picture')


def check_drawings(files: list[Path], folder: Path) -> None:
    """See that none of the drawings for ``--out-dir`` would replace a file.

    Raises:
        UserError: Naming the file in question.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f'--out-dir {folder} is a file; give the folder to draw into')
    twice = sorted({str(file) for file in files if files.count(file) > 1})
    if twice:
        raise UserError(
            f'several pictures would be drawn to {", ".join(twice)}; draw them into separate folders'
        )
    taken = [str(file) for file in files if file.exists()]
    if taken:
        raise UserError(f'{", ".join(taken)} exists already; choose another --out-dir')


def file_items(cfg: Config, files: Iterable[str | Path], channels: int = 3) -> list[dict]:
    """Pass picture files through the test pipeline.

    Where the pipeline does not load files itself, because the data set keeps arrays as CIFAR's does, it gets RGB
    arrays with 3 or 1 ``channels`` as from there: of the same size too, where that is known, as what follows is made
    for it.

    Returns:
        list[dict]: ``inputs`` (Tensor, (C, H, W)) and ``data_samples`` for each.
    """
    pipeline_cfg = ((cfg.get('test_dataloader') or {}).get('dataset') or {}).get('pipeline')
    if pipeline_cfg is None:
        raise UserError(
            'the config has no test_dataloader.dataset.pipeline, which says how to prepare a picture'
        )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose([TRANSFORMS.build(transform) for transform in pipeline_cfg])
    files = [Path(file) for file in files]
    check_pictures(files)
    if _loads_files(cfg):
        return [pipeline(dict(img_path=str(file))) for file in files]
    side = ARRAY_SIDES.get(cfg.test_dataloader.dataset.type.rpartition('.')[2])
    return [pipeline(_array(file, channels, side)) for file in files]


def _array(file: Path, channels: int, side: int | None) -> dict:
    image = mmcv.imread(str(file), 'color' if channels == 3 else 'grayscale')
    image, original = image[..., ::-1] if channels == 3 else image, image.shape[:2]
    if side is not None:
        image = mmcv.imresize(image, (side, side), interpolation='area')
    return dict(img=image, img_path=str(file), img_shape=image.shape[:2], ori_shape=original)


def dataset_items(
    cfg: Config, indices: Iterable[int] | None = None, limit: int | None = None
) -> Iterable[dict]:
    """Items of the test data set, all or those of ``indices``, as :func:`file_items` gives them, one after the other.

    At most ``limit`` of them, evenly spread.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    chosen = list(range(len(dataset)) if indices is None else indices)
    outside = [index for index in chosen if not 0 <= index < len(dataset)]
    if outside or not chosen:
        raise UserError(
            f'the test data set has {len(dataset)} items, counted from 0, so there is no {outside}'
        )
    if limit is not None and limit < len(chosen):
        chosen = [chosen[round(i)] for i in np.linspace(0, len(chosen) - 1, limit)]
    return (dataset[index] for index in chosen)


def shown_picture(inputs: Tensor, cfg: Config, to_rgb: bool) -> np.ndarray:
    """What the network sees, for the eye: (H, W, 3), uint8, RGB.

    Args:
        inputs (Tensor): Shape (C, H, W), 0 to 255, before the data preprocessor.
        cfg (Config): Whose test pipeline made it.
        to_rgb (bool): Whether the data preprocessor turns BGR to RGB.
    """
    if len(inputs) == 1:
        inputs = inputs.expand(3, -1, -1)
    elif to_rgb or _loads_files(cfg):
        inputs = inputs.flip(0)
    return inputs.permute(1, 2, 0).round().byte().numpy()


def _loads_files(cfg: Config) -> bool:
    types = [transform['type'] for transform in cfg.test_dataloader.dataset.pipeline]
    return any(kind.rpartition('.')[2] == 'LoadImageFromFile' for kind in types)

"""Pictures as the network of a config sees them in tests: from files, from arrays, or from its test data set."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image, ImageOps
from torch import Tensor, nn

from mmlattn.datasets.unreadable_pictures import load_picture, loader_in
from mmlattn.utils.arrays import for_the_eye
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import dataset_of, type_name

from .video_frames import Frame

#: Height and width, in pixels, of the arrays that data sets without picture files keep.
ARRAY_SIDES = dict(CIFAR10=32, CIFAR100=32, MNIST=28, FashionMNIST=28)
_WANTED = 'give (H, W, 3) in the order BGR, or grey (H, W), uint8 from 0 to 255'


def check_there(files: Iterable[str | Path]) -> None:
    """Raises ``UserError`` for the first that is no file; what a URL names is seen when it is loaded."""
    for file in map(str, files):
        if '://' in file:
            continue
        if Path(file).is_dir():
            raise UserError(f'{file} is a folder: name the pictures, for example {file}/*.jpg')
        if not Path(file).is_file():
            raise UserError(f'{file} is not there')


def check_pictures(cfg: Config, files: Iterable[str | Path]) -> None:
    """Raises ``UserError`` for the first file that the config cannot load."""
    files = list(files)
    check_there(files)
    reader = PictureReader(cfg) if files else None
    for file in files:
        reader.read(file)


def input_channels(model: nn.Module) -> int:
    """Channels of the pictures that a network takes: those of its first convolution, 3 where it has none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


class PictureReader:
    """Pictures as the test loop of a config gets them: by its own ``LoadImageFromFile``, with its options.

    Where the pipeline loads nothing, because the data set keeps arrays as CIFAR's does, it gets what that data set
    would give: RGB or grey, and of the same size where that is known, as what follows is made for it.

    Args:
        cfg (Config): With ``test_dataloader.dataset.pipeline``.
        channels (int): Of the network's input; without a loader these are 3 for RGB, else grey.
    """

    def __init__(self, cfg: Config, channels: int = 3) -> None:
        dataset = dataset_of(cfg)
        if dataset.get('pipeline') is None:
            raise UserError(
                'the config has no test_dataloader.dataset.pipeline, which says how to prepare a picture'
            )
        self.channels, self.side = channels, ARRAY_SIDES.get(type_name(dataset))
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            transforms = [TRANSFORMS.build(transform) for transform in dataset['pipeline']]
        self.loader = loader_in(transforms)
        self.transforms = Compose([transform for transform in transforms if transform is not self.loader])

    def __call__(self, picture: str | Path | np.ndarray | Image.Image) -> dict:
        """``inputs`` (Tensor, (C, H, W)) and ``data_samples`` of a picture."""
        item = self.transforms(self.read(picture))
        # Of test-time augmentation these are lists, with one for each view.
        views = item['inputs']
        channels = (views[0] if isinstance(views, list) else views).shape[-3]
        if channels in (2, 4) and channels != self.channels:
            raise UserError(
                f'{_called(picture)} has {channels} channels, one of them likely for transparency, and the network '
                f"takes {self.channels}: save it without, or set color_type='color' in LoadImageFromFile"
            )
        return item

    def read(self, picture: str | Path | np.ndarray | Image.Image) -> dict:
        """What the pipeline goes on from: ``img``, its shapes and, of a file, the path.

        Raises:
            UserError: If the picture cannot be loaded, or an array leaves open what its numbers mean.
        """
        if not isinstance(picture, (str, Path)):
            return self._results(self._convert(picture.image if isinstance(picture, Frame) else picture))
        return load_picture(self.loader or self._load, str(picture))

    def _load(self, item: dict) -> dict:
        image = mmcv.imread(item['img_path'], 'color' if self.channels == 3 else 'grayscale')
        return dict(self._results(image), **item)

    def shown(self, picture: str | Path | np.ndarray | Image.Image) -> np.ndarray:
        """The picture before the transforms, to be drawn: (H, W, 3), RGB, or (H, W, 1), uint8."""
        image = np.atleast_3d(self.read(picture)['img'])
        image = image[..., ::-1] if self.loader is not None and image.shape[-1] == 3 else image
        if self.loader is not None and image.shape[-1] == 4:
            image = image[..., 2::-1]
        return for_the_eye(torch.from_numpy(image.astype(np.float64)).permute(2, 0, 1))

    def _convert(self, picture: np.ndarray | Image.Image) -> np.ndarray:
        """An array or PIL image as the loader, or the data set, would give it."""
        color_type = getattr(self.loader, 'color_type', 'color')
        if isinstance(picture, Image.Image):
            picture = _from_pil(picture, turn='ignore_orientation' not in color_type)
        problem = array_problem(picture, any_depth=color_type == 'unchanged')
        if problem:
            raise UserError(f'{_called(picture)} is not taken as a picture: {problem}')
        if self.loader is None:
            return _with_channels(picture, self.channels)
        if color_type != 'unchanged':
            picture = _with_channels(picture, 1 if color_type.startswith('grayscale') else 3)
        return picture.astype(np.float32) if self.loader.to_float32 else picture

    def _results(self, image: np.ndarray) -> dict:
        """An image as the loader gives it or, where there is none, as a data set without files keeps it."""
        original = image.shape[:2]
        if self.loader is None:
            image = image[..., ::-1] if image.ndim == 3 else image
            if self.side is not None:
                image = mmcv.imresize(image, (self.side, self.side), interpolation='area')
        return dict(img=image, img_shape=image.shape[:2], ori_shape=original)


def array_problem(array: object, any_depth: bool = False) -> str | None:
    """Why an array is not clearly a picture, and what to give in its place; None if it is one.

    Args:
        array (object): What came.
        any_depth (bool): Take other numbers than uint8, and any number of channels: the config loads what is there.
    """
    if isinstance(array, Tensor):
        return f'tensors say neither order nor range: {_WANTED}, as numpy array'
    if not isinstance(array, np.ndarray):
        return f'expected a path, a URL, a numpy array or a PIL image, got {array!r:.60}'
    if array.ndim == 4:
        return f'it is a stack: give list(array), {len(array)} pictures'
    if array.ndim not in (2, 3) or not array.size:
        return f'its shape is {array.shape}: {_WANTED}'
    if array.dtype == bool:
        return 'it holds True and False: give array.astype(np.uint8) * 255'
    if array.ndim == 3 and array.shape[0] <= 4 < array.shape[2]:
        return f'its channels stand first, {array.shape}: give array.transpose(1, 2, 0), in the order BGR'
    if any_depth:
        return None if array.dtype.kind in 'uif' else f'its numbers are {array.dtype}'
    if array.dtype.kind == 'f':
        unit = array.min() >= 0 and array.max() <= 1
        return (
            f'its numbers are {array.dtype}: give (array{" * 255" if unit else ""}).round().astype(np.uint8)'
        )
    if array.dtype != np.uint8:
        return f"its numbers are {array.dtype}: {_WANTED}; 16 bits need LoadImageFromFile(color_type='unchanged')"
    if array.ndim == 3 and array.shape[2] == 4:
        return 'it has a fourth channel: leave transparency out, array[..., :3], in the order BGR'
    return None if array.ndim == 2 or array.shape[2] in (1, 3) else f'its shape is {array.shape}: {_WANTED}'


def _called(picture: object) -> str:
    """What a message calls a picture."""
    if isinstance(picture, (np.ndarray, Tensor)):
        return f'{type(picture).__name__} of shape {tuple(picture.shape)}'
    return str(picture) if isinstance(picture, (str, Path)) else type(picture).__name__


def _from_pil(picture: Image.Image, turn: bool) -> np.ndarray:
    if picture.mode not in ('L', 'RGB'):
        raise UserError(f"a PIL image of mode {picture.mode} is not taken: give picture.convert('RGB')")
    array = np.asarray(ImageOps.exif_transpose(picture) if turn else picture)
    return array if array.ndim == 2 else np.ascontiguousarray(array[..., ::-1])


def _with_channels(picture: np.ndarray, channels: int) -> np.ndarray:
    """BGR (H, W, 3) or grey (H, W), from either."""
    picture = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if channels == 3:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.ndim == 2 else picture
    return picture if picture.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_BGR2GRAY)


def file_items(cfg: Config, files: Iterable[str | Path], channels: int = 3) -> list[dict]:
    """Pass picture files through the test pipeline, for a network that takes so many channels.

    Returns:
        list[dict]: ``inputs`` (Tensor, (C, H, W)) and ``data_samples`` for each.
    """
    files = list(files)
    reader = PictureReader(cfg, channels)
    check_there(files)
    return [reader(file) for file in files]


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
    if limit is not None:
        chosen = [chosen[place] for place in evenly_spread(len(chosen), limit)]
    return (dataset[index] for index in chosen)


def evenly_spread(count: int, most: int) -> list[int]:
    """At most so many of ``count`` places, from the first to the last."""
    return [round(place) for place in np.linspace(0, count - 1, min(most, count))]


def shown_picture(inputs: Tensor, reader: PictureReader, to_rgb: bool) -> np.ndarray:
    """What the network sees, for the eye: (H, W, 3), uint8, RGB.

    Args:
        inputs (Tensor): Shape (C, H, W), before the data preprocessor.
        reader (PictureReader): Of the config whose test pipeline made it.
        to_rgb (bool): Whether the data preprocessor turns BGR to RGB.
    """
    turned = len(inputs) == 3 and (to_rgb or reader.loader is not None)
    picture = for_the_eye(inputs.flip(0) if turned else inputs)
    return np.broadcast_to(picture, (*picture.shape[:2], 3))

"""Picture files that cannot be read: which, why, and what takes their places."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from PIL import Image

from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .lookalikes import explain_missing, is_local

ON_ERROR = ('raise', 'skip')
#: The field of a packed sample that stands in for a picture, and so counts nowhere.
STANDS_IN = 'stands_in_for'
#: Pictures with more pixels are refused before memory is taken: some kB of a file can ask for many GB.
MOST_PIXELS = 200_000_000
_PICTURES = (b'\xff\xd8', b'\x89PNG', b'GIF8', b'BM', b'RIFF', b'II*\0', b'MM\0*')


def why_unreadable(path: str, error: Exception | None = None) -> str:
    """What is wrong with a picture file that no picture could be read from."""
    if not is_local(path):
        return ' '.join(str(error or 'it can not be loaded').split())[:150]
    missing = explain_missing(path)
    if missing or not Path(path).exists():
        return missing or 'it is not there'
    if not os.access(path, os.R_OK):
        return 'it may not be read: give permission with chmod'
    with open(path, 'rb') as file:
        start = file.read(16)
    if not start:
        return 'it is empty (0 bytes): copy or download it again'
    if start.lstrip().startswith(b'<'):
        return 'it is a web page, or a drawing in svg: download the picture itself'
    if large := too_large(path):
        return large
    if start.startswith(_PICTURES):
        size = Path(path).stat().st_size
        return (
            f'it is damaged or cut off ({size} bytes), or of a kind that is not decoded here: copy or download it '
            'again, or save it as PNG of 8 bits'
        )
    return 'its content is no picture that can be decoded here'


def too_large(path: str) -> str | None:
    """What is wrong with a picture file whose header says more than ``MOST_PIXELS``; None if it does not."""
    if not is_local(path):
        return None
    try:
        with any_size(), Image.open(path) as picture:
            width, height = picture.size
    except Exception:
        return None  # the loader says what it is
    if width * height <= MOST_PIXELS:
        return None
    return (
        f'its header says {width} x {height} pixels, and more than {MOST_PIXELS // 10**6} million are not loaded: '
        'save it smaller, or cut it into parts'
    )


@contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow read headers of pictures however large; its own limit, of all threads, is at another number."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def loader_in(transforms: Iterable) -> LoadImageFromFile | None:
    """The transform that loads the pictures of a pipeline; None where a data set keeps arrays."""
    return next((transform for transform in transforms if isinstance(transform, LoadImageFromFile)), None)


def load_picture(load: Callable[[dict], dict | None], path: str) -> dict:
    """What a loader makes of a picture file; raises ``UserError`` with the reason where that is nothing."""
    if large := too_large(path):
        raise UserError(f'{path} can not be read as a picture: {large}')
    try:
        loaded = load(dict(img_path=path))
    except Exception as error:
        raise UserError(f'{path} can not be read as a picture: {why_unreadable(path, error)}') from error
    if loaded is None:  # ignore_empty
        raise UserError(f'{path} can not be read as a picture: {why_unreadable(path)}')
    return loaded


class PictureGuard:
    """The pipeline of a data set, which knows what to do where a picture cannot be read.

    Args:
        dataset (BaseDataset): Loaded. Its ``pipeline`` becomes the guard.
        on_error (str): ``'raise'``: a ``UserError`` with the file and the reason. ``'skip'``: in training the sample
            is None, for which the data set draws another one; in testing the next one stands in and bears the mark
            ``stands_in_for``.
        training (bool): Which of both.
    """

    def __init__(self, dataset: BaseDataset, on_error: str, training: bool) -> None:
        check_choice('on_error', on_error, ON_ERROR)
        self.dataset, self.pipeline = dataset, dataset.pipeline
        self.on_error, self.training = on_error, training
        # In shared memory: workers fill it.
        self.unreadable = torch.zeros(len(dataset), dtype=torch.uint8).share_memory_()

    def __call__(self, item: dict) -> dict | None:
        """Load and transform an item."""
        index = item.get('sample_idx', 0)
        path = item.get('img_path')
        cause, problem = None, too_large(path) if path else None
        if problem is None:
            try:
                return self.pipeline(item)
            except Exception as error:
                if not _in_loader(error):
                    raise
                cause, problem = error, why_unreadable(path, error)
        if self.on_error == 'raise':
            raise UserError(
                f'{path} can not be read as a picture: {problem}. tools/analysis_tools/'
                'check_dataset.py CONFIG --images finds all of that kind; --cfg-options '
                'default_hooks.pictures.on_error=skip goes on without them'
            ) from cause
        self.unreadable[index] = 1
        return None if self.training else self._stand_in(index, path)

    def _stand_in(self, index: int, path: str) -> dict:
        """The next sample that can be read, with the mark."""
        for step in range(1, len(self.dataset)):
            other = self.dataset.get_data_info((index + step) % len(self.dataset))
            if too_large(other.get('img_path') or ''):
                continue
            try:
                packed = self.pipeline(other)
            except Exception as error:
                if not _in_loader(error):
                    raise
                continue
            samples = packed['data_samples']
            for sample in samples if isinstance(samples, list) else [samples]:
                sample.set_field(path, STANDS_IN, field_type='metainfo')
            return packed
        raise UserError(
            f'none of the {len(self.dataset)} pictures can be read: {path}: {why_unreadable(path)}'
        )

    def paths(self) -> list[str]:
        """The files that could not be read up to now."""
        return [self.dataset.get_data_info(int(i))['img_path'] for i in self.unreadable.nonzero()]

    def __getattr__(self, name: str):
        if name.startswith('__') or name == 'pipeline':
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def guard_pictures(dataset, on_error: str, training: bool) -> list[PictureGuard]:
    """Guard every data set inside of wrappers; what is guarded already stays so, what reads no files is harmless."""
    parts = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if isinstance(dataset, BaseDataset):
        if not isinstance(dataset.pipeline, PictureGuard):
            dataset.full_init()
            dataset.pipeline = PictureGuard(dataset, on_error, training)
        return [dataset.pipeline]
    return [guard for part in parts if part is not None for guard in guard_pictures(part, on_error, training)]


def _in_loader(error: Exception) -> bool:
    """Whether an error arose while a picture was loaded, not later."""
    return any(
        isinstance(frame.f_locals.get('self'), LoadImageFromFile) for frame, _ in walk_tb(error.__traceback__)
    )

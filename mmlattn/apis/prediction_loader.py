"""Pictures for prediction, loaded in batches by processes beside the network."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import cv2
from mmengine.dataset import default_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmlattn.utils.errors import UserError

from .picture_files import place_of
from .video_frames import Unreadable

#: What is said of a picture that was loaded, and that a transform could not take.
NOT_PASSED = 'does not pass the test pipeline'


def chunks_of(items: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` items, the last one shorter."""
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


class Prepared(NamedTuple):
    """What became of the pictures of one chunk."""

    groups: list[tuple[list[int], dict]]
    """Places in the chunk, and the batch of the pictures there, which are of one size, or each view of them is."""
    problems: dict[int, str]
    """Why there is none at a place."""


def load_chunks(
    chunks: Iterable[Sequence], prepare: Callable[[Any], dict], workers: int = 0, skip: bool = False
) -> Iterator[tuple[Sequence, Prepared]]:
    """Prepare chunks of pictures, in their order, while those before are computed.

    Args:
        chunks (Iterable[Sequence]): Only read as far ahead as the workers need.
        prepare (Callable): Makes ``inputs`` (C, H, W) and ``data_samples`` of a picture, as ``PictureReader`` does.
        workers (int): Processes that load; 0 loads in this one.
        skip (bool): Whether any error of a picture is a problem of its own. Else only a ``UserError`` is; what is
            wrong with the transforms is raised.
    """
    ahead = deque()

    def noted() -> Iterator[Sequence]:
        for chunk in chunks:
            ahead.append(chunk)
            yield chunk

    loader = DataLoader(
        _Pictures(prepare, skip),
        batch_sampler=noted(),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
    )
    for prepared in loader:
        yield ahead.popleft(), prepared


class _Pictures(Dataset):
    """A data set whose indices are the pictures, so that workers need no list of all of them."""

    def __init__(self, prepare: Callable[[Any], dict], skip: bool) -> None:
        self.prepare, self.skip = prepare, skip

    def __getitem__(self, item: Any) -> dict | str:
        if isinstance(item, Unreadable):
            return f'{item.path}: {item.reason}'
        try:
            return self.prepare(item)
        except UserError as error:
            return str(error)
        except Exception as error:
            if not self.skip:
                raise
            said = ' '.join(str(error).split())[:200]
            return f'{place_of(item) or "an array"} {NOT_PASSED}: {type(error).__name__}: {said}'


def _start_worker(_: int) -> None:
    # One process for each core; OpenCV's own threads would fight for them.
    cv2.setNumThreads(0)


def _collate(found: Sequence[dict | str]) -> Prepared:
    problems = {place: item for place, item in enumerate(found) if isinstance(item, str)}
    by_size = {}
    for place, item in enumerate(found):
        if place not in problems:
            by_size.setdefault(_sizes(item['inputs']), []).append(place)
    groups = [(places, default_collate([found[place] for place in places])) for places in by_size.values()]
    return Prepared(groups, problems)


def _sizes(inputs: Tensor | list[Tensor]) -> tuple:
    """The shape of a picture, or those of its views."""
    return tuple(tuple(view.shape) for view in inputs) if isinstance(inputs, list) else tuple(inputs.shape)

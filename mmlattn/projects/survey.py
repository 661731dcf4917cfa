"""What picture files are, as far as their headers and sizes tell."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from PIL import Image

from mmlattn.datasets.unreadable_pictures import MOST_PIXELS, any_size, why_unreadable
from mmlattn.utils.errors import UserError


def picture_sizes(paths: Sequence[str], workers: int = 8) -> list[tuple[int, int]]:
    """Width and height of each picture, from its header.

    Raises:
        UserError: If there are files that are not loaded, with their number, the first and what is wrong with it.
    """
    with any_size(), ThreadPoolExecutor(workers) as pool:
        sizes = list(pool.map(_size, paths))
    wrong = [path for path, size in zip(paths, sizes, strict=True) if size is None]
    if wrong:
        raise UserError(
            f'{len(wrong)} of {len(paths)} pictures can not be read, first {wrong[0]}: {why_unreadable(wrong[0])}; '
            'mend them, or take them out of the labels'
        )
    return sizes


def _size(path: str) -> tuple[int, int] | None:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, SyntaxError, ValueError):
        return None
    return None if width * height > MOST_PIXELS else (width, height)


def equal_files(paths: Sequence[str]) -> list[bytes | None]:
    """Of each file what only files of the same content have; None for those that no other equals."""
    lengths = [os.path.getsize(path) for path in paths]
    shared = {length for length, number in Counter(lengths).items() if number > 1}
    digests = [
        blake2b(Path(path).read_bytes(), digest_size=16).digest() if length in shared else None
        for path, length in zip(paths, lengths, strict=True)
    ]
    numbers = Counter(digests)
    return [digest if numbers[digest] > 1 else None for digest in digests]

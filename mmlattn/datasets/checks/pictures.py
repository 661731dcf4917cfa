"""What is wrong with picture files, seen by loading each once as its data set does."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from ..annotation_files import some
from ..unreadable_pictures import any_size
from .findings import Finding
from .picture_facts import HARMFUL, KINDS, PictureFacts, picture_facts
from .splits import Split

_AT_ONCE = 64  # for each thread: few results wait, however many pictures there are
_NAMES = 3


@dataclass(eq=False)
class PictureTable:
    """Facts of M files, each loaded once for each loader; some 400 bytes a file.

    Args:
        paths (list[str]): As a split writes them.
        places (np.ndarray): Shape (M,), equal for the same file.
        index (dict[str, np.ndarray]): For each split, by its name, (N,): the row of each picture; -1 for what is in
            memory only.
        problems (dict[int, str]): Why rows could not be loaded.
        sizes (np.ndarray): Shape (M, 2), width and height as loaded.
        channels (np.ndarray): Shape (M,).
        kinds (dict): Rows by kind and by what becomes of it.
        content, pixels (np.ndarray): Shape (M,), digests of 16 bytes.
        fingerprints (np.ndarray): Shape (M,), uint64.
        thumbnails (np.ndarray): Shape (M, 256), uint8.
    """

    paths: list[str]
    places: np.ndarray
    index: dict[str, np.ndarray]
    problems: dict[int, str] = field(default_factory=dict)
    kinds: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        count = len(self.paths)
        self.sizes = np.zeros((count, 2), np.int64)
        self.channels = np.zeros(count, np.uint8)
        self.content, self.pixels = np.zeros(count, 'V16'), np.zeros(count, 'V16')
        self.fingerprints = np.zeros(count, np.uint64)
        self.thumbnails = np.zeros((count, 256), np.uint8)

    @property
    def loaded(self) -> np.ndarray:
        """Rows that could be loaded, (M,) bool."""
        return self.channels > 0

    def put(self, row: int, facts: PictureFacts) -> None:
        """Keep the facts of a row."""
        if facts.problem is not None:
            self.problems[row] = facts.problem
            return
        self.sizes[row], self.channels[row] = facts.size, facts.channels
        self.content[row], self.pixels[row] = np.void(facts.content), np.void(facts.pixels)
        self.fingerprints[row], self.thumbnails[row] = facts.fingerprint, facts.thumbnail
        for kind, outcome in facts.kinds.items():
            self.kinds[kind, outcome].append(row)


def load_pictures(
    splits: Sequence[Split], workers: int, progress: Callable[[Iterable, int], Iterable] | None = None
) -> PictureTable:
    """Load the pictures of all splits in threads.

    Args:
        splits (Sequence[Split]): Whose pictures.
        workers (int): Threads.
        progress (Callable, optional): Gets the results one by one and their number, and hands them on.
    """
    rows, numbers, index = {}, {}, {}
    for split in splits:
        names = [repr(loader) for loader in split.loaders]
        column = np.full(len(split), -1)
        for n, (path, place, part) in enumerate(
            zip(split.paths, split.places, split.part.tolist(), strict=True)
        ):
            if path is not None:
                job = rows.setdefault((names[part], place), (len(rows), split.loaders[part], path))
                numbers.setdefault(place, len(numbers))
                column[n] = job[0]
        index[split.name] = column
    jobs = [(loader, path) for _, loader, path in rows.values()]
    places = np.array([numbers[place] for _, place in rows], np.int64)
    table = PictureTable([path for _, path in jobs], places, index)
    with _without_a_word(), ThreadPoolExecutor(workers) as pool:
        results = _in_portions(pool, jobs, workers)
        for row, facts in enumerate(progress(results, len(jobs)) if progress else results):
            table.put(row, facts)
    return table


def _in_portions(pool: ThreadPoolExecutor, jobs: Sequence[tuple], workers: int) -> Iterator[PictureFacts]:
    step = workers * _AT_ONCE
    for start in range(0, len(jobs), step):
        yield from pool.map(lambda job: picture_facts(*job), jobs[start : start + step])


@contextmanager
def _without_a_word() -> Iterator[None]:
    """Let OpenCV say nothing of files that a finding names, and Pillow read the headers of pictures however large.

    The loader has decoded them already.
    """
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with any_size():
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def check_pictures(split: Split, table: PictureTable) -> list[Finding]:
    """What is wrong with, or special about, the pictures of a split."""
    about = partial(Finding, split=split.name)
    index = table.index[split.name]
    rows = np.unique(index[index >= 0])
    mine = set(rows.tolist())
    found = [
        about('error', 'unreadable-picture', message=problem, files=(table.paths[row],))
        for row, problem in table.problems.items()
        if row in mine
    ]
    found += _wrong_sizes(split, table)
    loaded = rows[table.loaded[rows]]
    counts = {int(c): loaded[table.channels[loaded] == c] for c in np.unique(table.channels[loaded])}
    if len(counts) > 1:
        few = min(counts, key=lambda c: len(counts[c]))
        told = ', '.join(f'{len(part)} with {c}' for c, part in counts.items())
        message = (
            f'pictures are loaded with different numbers of channels ({told}), and can not be in one batch: set '
            f"color_type='color' of LoadImageFromFile, first {table.paths[counts[few][0]]}"
        )
        found.append(about('error', 'mixed-channels', message=message, files=_paths(table, counts[few])))
    for (kind, outcome), members in table.kinds.items():
        special = [row for row in members if row in mine]
        if special:
            severity = 'warning' if outcome in HARMFUL.values() else 'note'
            files = _paths(table, special)
            message = f'{KINDS[kind]}: {len(files)} of {len(rows)} pictures, {outcome}: {some(files, _NAMES)}'
            found.append(about(severity, kind, message=message, files=files))
    return found


def _paths(table: PictureTable, rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(table.paths[row] for row in rows)


def _wrong_sizes(split: Split, table: PictureTable) -> list[Finding]:
    if not table.paths:  # all pictures are in memory
        return []
    index = table.index[split.name]
    sizes = table.sizes[index]
    told = np.where(split.sizes > 0, split.sizes, sizes)
    wrong = (index >= 0) & table.loaded[index] & (told != sizes).any(axis=1)
    found = []
    for n in np.flatnonzero(wrong).tolist():
        path, (width, height), (by_file, high_by_file) = split.paths[n], sizes[n], told[n]
        message = (
            f'{path}: is {width} x {height} as LoadImageFromFile turns it, but the annotation file says {by_file} x '
            f'{high_by_file}, so its boxes do not fit'
        )
        found.append(Finding('error', 'wrong-size', split.name, message, (path,)))
    return found

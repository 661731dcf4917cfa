"""Feature maps of many pictures in one file, float16, that is mapped into memory.

``KEY.npy`` holds the maps (N, ...) and ``KEY.json`` what they are of. Until all are there the two are called
``KEY.part.npy`` and ``KEY.part.json``; whoever finds these goes on where they end. One process writes at a time.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.whole_files import whole_file

LARGEST = float(np.finfo(np.float16).max)


class MapFile:
    """The file of one key in a folder.

    Args:
        folder (Path): Made where needed.
        key (str): Of the content.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.maps, self.facts = folder / f'{key}.npy', folder / f'{key}.json'
        self.part_maps, self.part_facts = folder / f'{key}.part.npy', folder / f'{key}.part.json'
        self._lock = folder / f'{key}.lock'

    @property
    def complete(self) -> bool:
        """Whether all maps are there."""
        return self.facts.exists() and self.maps.exists()

    def read(self) -> np.ndarray:
        """The maps (N, ...), float16, of the file itself; nothing is read before it is asked for."""
        return np.load(self.maps, mmap_mode='r')

    def read_facts(self) -> dict:
        """What was stored beside the maps."""
        return json.loads(self.facts.read_text())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who writes; waits for another."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open('w') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def written(self) -> int:
        """How many maps an interrupted writing left."""
        if self.complete or not (self.part_facts.exists() and self.part_maps.exists()):
            return 0
        return len(json.loads(self.part_facts.read_text())['pictures'])


class MapWriter:
    """Writes the maps of N pictures in order, and keeps what is done at least every ``every`` pictures.

    Args:
        file (MapFile): Locked by the caller.
        total (int): N.
        facts (dict): What the maps are of.
        every (int): Pictures that an interruption may cost.
    """

    def __init__(self, file: MapFile, total: int, facts: dict, every: int = 512) -> None:
        self.file, self.total, self.facts, self.every = file, total, facts, every
        self.done = self._saved = file.written()
        self._pictures = json.loads(file.part_facts.read_text())['pictures'] if self.done else []
        self._array = np.load(file.part_maps, mmap_mode='r+') if self.done else None

    def add(self, maps: np.ndarray, pictures: Sequence[dict]) -> None:
        """Write the maps (B, ...) of the next B pictures, and what is known of each.

        Raises:
            UserError: If a value is too large for float16, or the disk has no room for the file.
        """
        if not np.abs(maps).max(initial=0) <= LARGEST:
            raise UserError(
                f'the backbone gives features of {np.abs(maps).max()}, and up to {LARGEST:g} can be stored: check '
                'its weights and data_preprocessor'
            )
        if self._array is None:
            self._array = self._empty(maps.shape[1:])
        self._array[self.done : self.done + len(maps)] = maps
        self._pictures += pictures
        self.done += len(maps)
        last = self.done == self.total
        if last or self.done - self._saved >= self.every:
            # What the facts say is there must be there first.
            self._array.flush()
            if last:
                self.file.part_maps.replace(self.file.maps)
            self._write_facts(self.file.facts if last else self.file.part_facts)
        if last:
            self.file.part_facts.unlink(missing_ok=True)

    def _empty(self, shape: Sequence[int]) -> np.memmap:
        """The file of N maps, with its room on the disk: a mapped page that finds none would kill the process."""
        # Of an earlier file that is gone: they would call maps written that are not.
        self.file.part_facts.unlink(missing_ok=True)
        self.file.part_maps.parent.mkdir(parents=True, exist_ok=True)
        try:
            array = np.lib.format.open_memmap(self.file.part_maps, 'w+', np.float16, (self.total, *shape))
            with self.file.part_maps.open('r+b') as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            self.file.part_maps.unlink(missing_ok=True)
            megabytes = 2 * self.total * np.prod(shape) / 1e6
            raise UserError(
                f'no room for {megabytes:.0f} MB of features in {self.file.maps.parent} ({error.strerror}): make '
                'some, or choose another --features'
            ) from error
        return array

    def _write_facts(self, place: Path) -> None:
        with whole_file(place) as draft:
            draft.write_text(to_json(dict(self.facts, pictures=self._pictures)) + '\n')
        self._saved = self.done

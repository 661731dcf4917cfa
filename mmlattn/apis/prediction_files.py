"""The folder that predictions are written into: one line for each picture, appended, so that a run can go on.

``predictions.jsonl`` is the record: each batch is appended to it as a whole, in the order of the inputs, with the
pictures that could not be read. ``predictions.csv`` and ``failed.csv`` are made of it when all is done.
``settings.json`` says what the predictions were made with.
"""

import csv
import errno
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from mmlattn.structures.evidence import EVIDENCE_FIELDS
from mmlattn.utils.arguments import check_folder
from mmlattn.utils.drawings import drawing_names
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json

from .picture_files import path_of, place_of
from .video_frames import Frame

RECORD, TABLE, FAILED, SETTINGS = 'predictions.jsonl', 'predictions.csv', 'failed.csv', 'settings.json'
#: Between the labels of a picture in the table.
SEPARATOR = ';'


def picture_line(
    result: Mapping, classes: Sequence[str], thresholds: Sequence[float] | None, with_evidence: bool = True
) -> dict:
    """What the record says of a picture.

    Args:
        result (Mapping): As the inferencer gives it, or with ``error``.
        classes (Sequence[str]): C names.
        thresholds (Sequence[float], optional): C scores, where labels are taken by them.
        with_evidence (bool): Whether to write the evidence; results have some for drawings alone, too.

    Returns:
        dict: ``name``, ``path``, of a frame ``time`` in seconds, and ``error``; or ``labels`` (names, best first),
        ``scores`` and ``thresholds`` (by name), and ``evidence`` if the result has some: attention maps of the labels
        alone, everything else of all classes. Soft masks of attention modules, which are of no class, stay out.
    """
    line = {field: result[field] for field in ('name', 'path', 'time', 'error') if field in result}
    if 'error' in line:
        return line
    labels = result['pred_labels']
    line.update(labels=[classes[n] for n in labels], scores=_by_name(classes, result['pred_scores']))
    if thresholds is not None:
        line['thresholds'] = _by_name(classes, np.asarray(thresholds, np.float32))
    evidence = {
        field: result[field] for field in EVIDENCE_FIELDS if field in result and field != 'trunk_masks'
    }
    if 'attention_maps' in evidence:
        evidence['attention_maps'] = {classes[n]: _short(evidence['attention_maps'][n], 4) for n in labels}
    if 'label_path' in evidence:
        evidence['label_path'] = [classes[n] for n in evidence['label_path']]
    if evidence and with_evidence:
        line['evidence'] = {k: _short(v, 6) if isinstance(v, np.ndarray) else v for k, v in evidence.items()}
    return line


def _by_name(classes: Sequence[str], values: np.ndarray) -> dict[str, float]:
    # The shortest number that is this float32: 0.1, not 0.10000000149011612.
    return {name: float(str(value)) for name, value in zip(classes, values.astype(np.float32), strict=True)}


def _short(values: np.ndarray, digits: int) -> Any:
    """Nested lists of numbers with so many digits."""
    if np.ndim(values):
        return [_short(row, digits) for row in values]
    return float(f'{values:.{digits}g}')


class PredictionFolder:
    """Where predictions are written, one process at a time.

    Args:
        folder (str | Path): Made if need be.
        settings (Mapping): What the predictions depend on, plain values by name.
        resume (bool): Go on with what the folder has.

    Raises:
        UserError: If the folder has predictions and ``resume`` is not set, or those of other settings, or a damaged
            record, or another process writes there.
    """

    def __init__(self, folder: str | Path, settings: Mapping, resume: bool = False) -> None:
        self.folder = Path(folder)
        check_out_dir(self.folder, resume)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record = open(self.folder / RECORD, 'a+b')  # noqa: SIM115
        if not _lock(self.record):
            self.record.close()
            raise UserError(f'another process is writing predictions into {folder}: wait for its end')
        self._check_settings(settings)
        self.recorded, self._ends = self._read_places()
        self._cut(len(self.recorded))

    def _check_settings(self, settings: Mapping) -> None:
        file = self.folder / SETTINGS
        settings = json.loads(to_json(settings))
        if not file.exists() or not os.path.getsize(self.folder / RECORD):
            with _replacing(file) as open_file:
                open_file.write(to_json(settings, indent=2) + '\n')
            return
        try:
            before = json.loads(file.read_text(encoding='utf-8'))
            changed = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
        except (ValueError, TypeError) as error:
            raise UserError(f'{file} is damaged ({error}): choose another --out-dir') from error
        if changed:
            told = ', '.join(f'{n} {_told(before.get(n))}, now {_told(settings.get(n))}' for n in changed)
            raise UserError(
                f'{self.folder} was begun with other settings: {told}. Resume with those, or choose another --out-dir'
            )

    def _read_places(self) -> tuple[list[str], array]:
        """The pictures of the record, and where the line of each ends; what is cut off at the end is left out."""
        places, ends, end = [], array('q'), 0
        self.record.seek(0)
        for number, line in enumerate(self.record, start=1):
            if not line.endswith(b'\n'):
                break
            places.append(place_in(_read_line(line, self.folder / RECORD, number)))
            end += len(line)
            ends.append(end)
        return places, ends

    def _cut(self, count: int) -> None:
        """Keep so many pictures of the record."""
        del self.recorded[count:], self._ends[count:]
        self.record.truncate(self._ends[-1] if count else 0)

    def remaining(self, chunks: Iterable[list]) -> Iterator[list]:
        """The chunks, without the pictures that are recorded.

        A chunk of which only a part is recorded is computed anew as a whole, since numbers depend, in their last
        digits, on which pictures are computed together. So the record becomes the same as without the interruption.
        Where the inputs are others than before, what is recorded of them stays, and what is new comes behind.
        """
        position, known = 0, None
        for chunk in chunks:
            if known is None:
                places = [place_of(item) for item in chunk]
                before = self.recorded[position : position + len(chunk)]
                if before == places:
                    position += len(chunk)
                    continue
                if before == places[: len(before)] and position + len(before) == len(self.recorded):
                    self._cut(position)
                known = set(self.recorded)
            todo = [item for item in chunk if place_of(item) not in known]
            if todo:
                yield todo

    def append(self, lines: Sequence[Mapping]) -> None:
        """Write the lines of one chunk."""
        self.record.write(b''.join(f'{to_json(line)}\n'.encode() for line in lines))
        self.record.flush()

    def lines(self) -> Iterator[dict]:
        """The record."""
        with open(self.folder / RECORD, 'rb') as file:
            for number, line in enumerate(file, start=1):
                yield _read_line(line, self.folder / RECORD, number)

    def finish(self, classes: Sequence[str], thresholds: bool) -> tuple[int, list[dict]]:
        """Make the tables of the record.

        Args:
            classes (Sequence[str]): C names.
            thresholds (bool): Whether the lines have thresholds.

        Returns:
            tuple[int, list[dict]]: How many pictures were predicted, and the lines of those that could not be.
        """
        failed, predicted = [], 0
        with _replacing(self.folder / TABLE) as file:
            table = csv.writer(file, lineterminator='\n')
            table.writerow(table_header(classes, ['labels'], thresholds))
            for line in self.lines():
                if 'error' in line:
                    failed.append(line)
                    continue
                table.writerow(table_row(line, classes, ['labels'], thresholds))
                predicted += 1
        if failed:
            with _replacing(self.folder / FAILED) as file:
                table = csv.writer(file, lineterminator='\n')
                table.writerows([['picture', 'error'], *([place_in(line), line['error']] for line in failed)])
        else:
            (self.folder / FAILED).unlink(
                missing_ok=True
            )  # of a run before that went on, and could read them
        self.record.close()
        return predicted, failed


def table_header(classes: Sequence[str], sets: Sequence[str], thresholds: bool = False) -> list[str]:
    """Columns of a table of predictions: the picture, ``sets`` of labels, and numbers of each class."""
    kinds = ('score', 'threshold') if thresholds else ('score',)
    return ['picture', *sets, *(f'{kind}:{name}' for kind in kinds for name in classes)]


def table_row(line: Mapping, classes: Sequence[str], sets: Sequence[str], thresholds: bool = False) -> list:
    """What stands in these columns, of a line as :func:`picture_line` makes it."""
    fields = ('scores', 'thresholds') if thresholds else ('scores',)
    numbers = [line[field][name] for field in fields for name in classes]
    return [place_in(line), *(SEPARATOR.join(line[name]) for name in sets), *numbers]


def _lock(file: BinaryIO) -> bool:
    """Whether this process may write a file alone; so it may where there are no locks, as on Windows."""
    try:
        import fcntl

        # Not flock, which processes that load pictures would inherit, and keep for seconds after this one was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names by which columns can be told apart: ImageNet's two become ``crane #134`` and ``crane #517``."""
    times = Counter(names)
    return [name if times[name] == 1 else f'{name} #{number}' for number, name in enumerate(names)]


def drawing_places(folder: Path, sources: Sequence[str]) -> Callable[[Any], Path]:
    """Where the drawing of a picture goes: each has a name of its own, and those of a video a folder.

    Args:
        folder (Path): For all.
        sources (Sequence[str]): The files, each once.
    """
    names = dict(zip(sources, drawing_names(sources), strict=True))

    def place(item: Any) -> Path:
        file = folder / names[path_of(item)]
        return file.with_suffix('.frames') / f'{item.time:010.3f}.png' if isinstance(item, Frame) else file

    return place


def check_out_dir(folder: str | Path, resume: bool) -> None:
    """Raises ``UserError`` for a folder that cannot be written, or has predictions which are not to be continued."""
    check_folder('--out-dir', folder)
    record, tables = Path(folder, RECORD), [name for name in (TABLE, FAILED) if Path(folder, name).exists()]
    there = [RECORD, *tables] if record.exists() and record.stat().st_size else tables
    if there and not resume:
        raise UserError(
            f'{Path(folder, there[0])} exists already: go on with it by --resume, or choose another --out-dir'
        )
    if there and not record.exists():
        raise UserError(f'{folder} has {there[0]} but no {RECORD} to go on with: choose another --out-dir')


def place_in(line: Mapping) -> str:
    """The picture that a line of the record is of, as ``place_of`` says it."""
    return f'{line["path"]}#t={line["time"]:.3f}' if 'time' in line else line['path']


def _told(value: Any) -> str:
    text = to_json(value)
    return text if len(text) < 60 else f'{text[:56]} ...'


def _read_line(line: bytes, file: Path, number: int) -> dict:
    try:
        read = json.loads(line)
        place_in(read)
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'{file}, line {number} is damaged ({error!r}): remove that line and those after it, or choose another '
            '--out-dir'
        ) from error
    return read


@contextmanager
def _replacing(file: Path) -> Iterator[TextIO]:
    """Write a file that takes its place only when it is whole."""
    partial = file.with_name(f'{file.name}.partial')
    # Names of files are bytes on Linux, and not always of letters.
    with open(partial, 'w', encoding='utf-8', errors='surrogateescape', newline='') as open_file:
        yield open_file
    os.replace(partial, file)

"""A folder for each set of labels: ``cat/a.jpg``, ``cat+dog/b.jpg``, ``_none/c.jpg``; maybe in ``train``, ``val``."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from mmlattn.utils.errors import UserError

from ..annotation_files import refuse, some
from ..picture_names import PICTURE_EXTENSIONS, is_picture
from .assembly import Draft
from .boxed import only_present
from .records import PRESENT, SPLIT_NAMES, LabelTable
from .voc import check_inside

#: The folder of pictures without any label.
NO_LABEL = '_none'
_PLUS = '+'


def read_folders(path: str, classes: Sequence[str] | None = None, separator: str = _PLUS) -> Draft:
    """Read the names of folders and of the pictures in them, whatever folders are in these.

    Args:
        path (str): The folder of folders.
        classes (Sequence[str], optional): Not needed.
        separator (str): Between two labels in the name of a folder; ``''`` if each folder is one class.
    """
    root = Path(path)
    tops = _subfolders(root, path)
    with_splits = bool(tops) and all(folder.name.casefold() in SPLIT_NAMES for folder in tops)
    folders = [folder for top in tops for folder in _subfolders(top, path)] if with_splits else tops
    images, labels, splits, others = [], [], [], []
    for folder in folders:
        named = _names(path, folder, root, separator)
        for file in sorted(folder.rglob('*')):
            if file.is_dir() or file.name.startswith('.'):
                continue
            if not is_picture(file):
                others.append(file)
                continue
            images.append(file.relative_to(root).as_posix())
            labels.append(dict.fromkeys(named, PRESENT))
            splits.append(folder.relative_to(root).parts[0])
    notes = [f'{len(others)} files that are no pictures are passed over, first {others[0]}'] if others else []
    if not images:
        raise UserError(
            f'{path}: no folder in it holds a picture ({", ".join(PICTURE_EXTENSIONS)}): name another'
        )
    where = lambda entry: images[entry]  # noqa: E731
    return Draft.of_lists(
        path, 'folders', images, labels, where=where, splits=splits if with_splits else None, notes=notes
    )


def _subfolders(folder: Path, path: str) -> list[Path]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith('.'))
    loose = [entry for entry in entries if entry.is_file() and is_picture(entry)]
    if loose:
        refuse(
            path,
            loose[0].relative_to(path).as_posix(),
            f'lies in no folder of labels: move it into one, or into {NO_LABEL} if it has no label',
        )
    return [entry for entry in entries if entry.is_dir()]


def _names(path: str, folder: Path, root: Path, separator: str) -> list[str]:
    if folder.name == NO_LABEL:
        return []
    names = folder.name.split(separator) if separator else [folder.name]
    names = [name.strip() for name in names]
    where = folder.relative_to(root).as_posix()
    if '' in names:
        mend = f"rename the folder, or say separator='' if {separator!r} is part of a name"
        refuse(path, where, f'has nothing before, between or behind {separator!r}: {mend}')
    if len(set(names)) < len(names):
        refuse(path, where, f'names a class twice ({some(names)}): rename the folder')
    return names


def write_folders(table: LabelTable, path: str, pictures: str | None = None) -> None:
    """Copy the pictures, which lie in the folder ``pictures``, into folders of their labels."""
    only_present(table, path, 'folders')
    if pictures is None:
        raise UserError(f'{path}: the format folders copies pictures: name the folder with the pictures')
    for name in table.classes:
        if (
            _PLUS in name
            or '/' in name
            or '\\' in name
            or name.startswith('.')
            or name == NO_LABEL
            or len(name) > 200
        ):
            raise UserError(
                f'{path}: {name!r} can not be in the name of a folder, with {_PLUS!r} between names: rename the '
                'class, or write another format'
            )
    places = [PurePosixPath(record.image) for record in table.records]
    check_inside(path, places)
    sources = [Path(pictures, place) for place in places]
    missing = [source for source in sources if not source.is_file()]
    if missing:
        raise UserError(
            f'{path}: {len(missing)} pictures are not there, first {missing[0]}: name their folder'
        )
    targets = []
    for place, record in zip(places, table.records, strict=True):
        folder = _PLUS.join(record.present) or NO_LABEL
        if len(folder.encode()) > 255:
            raise UserError(
                f'{path}: {place} has too many labels for the name of a folder: write another format'
            )
        targets.append(Path(path, record.split or '', folder, place))
    for source, target in zip(sources, targets, strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)

"""A folder of PASCAL VOC's xml files, one for each picture; objects that are all difficult make a class unknown."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from mmlattn.utils.errors import UserError

from ..annotation_files import numbered_lines, read_text, refuse, tell
from ..picture_names import PICTURE_EXTENSIONS
from ..voc_xml import box_corners, picture_size, read_xml
from .assembly import Draft
from .boxed import Objects, only_present, plain, sizes_of
from .records import PRESENT, UNKNOWN, LabelTable

_SPLITS = ('train', 'val', 'test')
# VOC counts pixels from 1, and its boxes include the last one.
_SHIFT = (-1, -1, 0, 0)


def read_voc(path: str, classes: Sequence[str] | None = None) -> Draft:
    """Read a folder with xml files, or one that has them in ``Annotations``.

    A picture is called as its xml, with the extension that the xml says, or else .jpg. Its split is the list of
    ``ImageSets/Main`` that has it, one of train, val and test.
    """
    root = Path(path)
    folder = root / 'Annotations' if (root / 'Annotations').is_dir() else root
    files = sorted(folder.rglob('*.xml'))
    if not files:
        raise UserError(f'{path}: holds no xml file: name the folder with the annotations')
    objects, images, sizes, names = Objects(path), [], [], []
    for file in files:
        image, size = _read_picture(file, folder, objects)
        images.append(image)
        sizes.append(size)
        names.append(file.relative_to(folder).as_posix())
    splits = _read_splits(folder.parent / 'ImageSets' / 'Main', [name.removesuffix('.xml') for name in names])
    return objects.draft('voc', images, sizes, shift=_SHIFT, where=names.__getitem__, splits=splits)


def _read_picture(file: Path, folder: Path, objects: Objects) -> tuple[str, tuple[float, float]]:
    path = str(file)
    root = read_xml(path)
    if root.tag == 'annotations' or root.find('image') is not None:
        refuse(
            path,
            f'element {root.tag}',
            'is of CVAT, expected one of VOC: give the file, not its folder',
        )
    size = picture_size(root, path)
    objects.labels.append({})
    for number, entry in enumerate(root.findall('object'), start=1):
        name = entry.findtext('name', '').strip()
        if not name:
            refuse(path, f'object {number}', 'name is missing')
        where = f'object {number} ({name})'
        difficult = entry.findtext('difficult', '0').strip()
        if difficult not in ('0', '1'):
            refuse(path, where, f'difficult must be 0 or 1, got {difficult!r}')
        objects.say(name, UNKNOWN if difficult == '1' else PRESENT)
        if difficult == '0' and entry.find('bndbox') is not None:
            objects.add_box(name, box_corners(entry, path, where), (path, where))
    ending = PurePosixPath(root.findtext('filename', '').strip()).suffix
    ending = ending if ending.lower() in PICTURE_EXTENSIONS else '.jpg'
    return file.relative_to(folder).with_suffix('').as_posix() + ending, size


def _read_splits(folder: Path, names: list[str]) -> list[str | None] | None:
    found: dict[str, str] = {}
    known = set(names)
    for split in _SPLITS:
        path = folder / f'{split}.txt'
        if not path.is_file():
            continue
        lines = numbered_lines(str(path), read_text(str(path), 'name another folder'), skip_blank=True)
        others = [name for name in lines if name not in known]
        if others:
            first = f'line {lines[others[0]]}, {others[0]!r}'
            what = f'{len(others)} of {len(lines)} names have no xml file, first {first}'
            if len(others) == len(lines):
                raise UserError(
                    f'{path}: {what}: write one name a line, without extension, as the xml files have it'
                )
            tell(str(path), f'{what}: they are left out')
        for name, line in lines.items():
            if found.setdefault(name, split) != split:
                refuse(str(path), f'line {line}', f'{name} is in {found[name]}.txt too: keep one of the two')
    return [found.get(name) for name in names] if found else None


def write_voc(table: LabelTable, path: str, sizes: np.ndarray | None = None) -> None:
    """Write ``Annotations``, and ``ImageSets/Main`` where the table has splits; boxes have at least one pixel."""
    only_present(table, path, 'voc', also_unknown=True)
    sizes = sizes_of(table, path, sizes)
    files = [PurePosixPath(record.image).with_suffix('.xml') for record in table.records]
    check_inside(path, files)
    boxes = table.columns.boxes
    thin = 0 if boxes is None else int(((boxes.corners[:, 2:] - boxes.corners[:, :2]) < 1).any(1).sum())
    if thin:
        tell(
            path,
            f'{thin} boxes are less than a pixel wide or high, and become one pixel, which VOC says at least',
        )
    root = Path(path)
    lists: dict[str, list[str]] = {}
    for file, record, size in zip(files, table.records, sizes.tolist(), strict=True):
        target = root / 'Annotations' / file
        target.parent.mkdir(parents=True, exist_ok=True)
        ElementTree.ElementTree(_annotation(record, size)).write(target, encoding='utf-8')
        if record.split is not None:
            lists.setdefault(record.split, []).append(str(file.with_suffix('')))
    for split, names in lists.items():
        target = root / 'ImageSets' / 'Main' / f'{split}.txt'
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text('\n'.join(names) + '\n', encoding='utf-8')


def check_inside(path: str, files: Sequence[PurePosixPath]) -> None:
    """See that files of pictures are different and lie in the folder they are to be written into."""
    seen: dict[str, None] = {}
    for file in files:
        if file.is_absolute() or '..' in file.parts:
            raise UserError(
                f'{path}: {file} would lie outside of it: make the paths of pictures relative to one folder'
            )
        if str(file) in seen:
            raise UserError(f'{path}: two pictures would share {file}: rename one of them')
        seen[str(file)] = None


def _annotation(record, size: Sequence[float]) -> ElementTree.Element:
    root = ElementTree.Element('annotation')
    ElementTree.SubElement(root, 'filename').text = PurePosixPath(record.image).name
    _add(root, 'size', dict(zip(('width', 'height'), map(plain, size), strict=True)) | dict(depth='3'))
    boxes = record.boxes or ()
    for name, (left, top, right, bottom) in boxes:
        entry = _add(root, 'object', dict(name=name, difficult='0'))
        # A box has at least the pixel it begins in.
        corners = (left - _SHIFT[0], top - _SHIFT[1], max(right, left + 1), max(bottom, top + 1))
        _add(entry, 'bndbox', dict(zip(('xmin', 'ymin', 'xmax', 'ymax'), map(plain, corners), strict=True)))
    boxed = {name for name, _ in boxes}
    for name, value in record.labels.items():
        if value == UNKNOWN or (value == PRESENT and name not in boxed):
            _add(root, 'object', dict(name=name, difficult=str(int(value == UNKNOWN))))
    return root


def _add(parent: ElementTree.Element, tag: str, texts: dict[str, str]) -> ElementTree.Element:
    entry = ElementTree.SubElement(parent, tag)
    for name, text in texts.items():
        ElementTree.SubElement(entry, name).text = text
    return entry

"""The text files of NUS-WIDE: the list of pictures, one column of 0 and 1 for each concept, and the splits in use."""

import reprlib
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from mmengine.fileio import exists, get, join_path

from mmlattn.datasets.annotation_files import check_classes, refuse
from mmlattn.utils.errors import UserError

__all__ = [
    'COUNTS', 'draw_150k', 'find_rows', 'label_lists', 'read_concepts', 'read_labels', 'read_pictures',
]  # fmt: skip

# Pictures of each split when nothing is missing. 'official': as its authors say (github.com/NExTplusplus/NUS-WIDE);
# 'official_labeled' and 'srn': as the code of multi-order-RNN and SALGL, and of SRN, says.
COUNTS = {
    'official': dict(train=161_789, test=107_859),
    'official_labeled': dict(train=125_449, test=83_898),
    '150k': dict(train=150_000, test=59_347),
    'srn': dict(train=119_986, test=80_283),
}
_AGAIN = 'take it from the archive again'


def read_concepts(root: str) -> tuple[str, ...]:
    """The concepts in their order, from the folder where the archive has the list or from the root.

    Raises:
        UserError: If there is no list, or it is no list of different names.
    """
    paths = [join_path(root, 'ConceptsList', 'Concepts81.txt'), join_path(root, 'Concepts81.txt')]
    path = next((path for path in paths if exists(path)), None)
    if path is None:
        raise UserError(
            f'{paths[0]}: no such file, nor is {paths[1]}: set data_root to the folder with Flickr, ImageList, '
            'ConceptsList and Groundtruth'
        )
    return check_classes([line.strip() for line in _read_text(path).splitlines()], path)


def read_pictures(path: str) -> dict[str, int]:
    """A list of pictures, one a line, with slashes of either kind.

    Returns:
        dict[str, int]: Line of each picture, counted from 0, by its name with forward slashes.

    Raises:
        UserError: If the file is missing, empty or no text, or has a blank line or a picture twice.
    """
    rows: dict[str, int] = {}
    for row, line in enumerate(_read_text(path).replace('\\', '/').splitlines()):
        name = line.strip()
        if not name:
            refuse(path, f'line {row + 1}', f'is blank, expected the name of a picture: {_AGAIN}')
        if name in rows:
            refuse(path, f'line {row + 1}', f'{name} is already in line {rows[name] + 1}: {_AGAIN}')
        rows[name] = row
    if not rows:
        raise UserError(f'{path}: is empty: {_AGAIN}')
    return rows


def find_rows(path: str, rows: Mapping[str, int]) -> np.ndarray:
    """Where the pictures of a list stand in the list of all, ``rows`` by name.

    Returns:
        np.ndarray: (n,) int64, in the order of the file.

    Raises:
        UserError: As :func:`read_pictures`, or for a picture that is not among all.
    """
    listed = read_pictures(path)
    unknown = next((name for name in listed if name not in rows), None)
    if unknown is not None:
        refuse(
            path,
            f'line {listed[unknown] + 1}',
            f'{unknown} is not among the {len(rows)} pictures of Imagelist.txt: write it as there, such as '
            f'{next(iter(rows))}',
        )
    return np.array([rows[name] for name in listed])


def read_labels(root: str, concepts: Sequence[str], count: int) -> np.ndarray:
    """The column of every concept, one line of 0 or 1 for each of ``count`` pictures.

    Returns:
        np.ndarray: (count, C) bool.

    Raises:
        UserError: If a file is missing, has another number of lines, or something else in one.
    """
    labels = np.empty((count, len(concepts)), bool)
    for column, concept in enumerate(concepts):
        path = join_path(root, 'Groundtruth', 'AllLabels', f'Labels_{concept}.txt')
        labels[:, column] = _read_column(path, count)
    return labels


def label_lists(labels: np.ndarray) -> list[list[int]]:
    """Indices of the ones in each row of ``labels`` (n, C) bool, ascending."""
    columns = np.nonzero(labels)[1].tolist()
    ends = labels.sum(1).cumsum().tolist()
    return [columns[start:end] for start, end in pairwise([0, *ends])]


def draw_150k(labelled: np.ndarray, split: str) -> np.ndarray:
    """Our draw of 150,000 pictures for training; the others are for test.

    It depends on nothing but ``labelled``: the stream of numpy's ``RandomState`` is the same in all versions.

    Args:
        labelled (np.ndarray): (n,) rows of the pictures with a label, present on the disk or not.
        split (str): 'train' or 'test'.

    Returns:
        np.ndarray: The rows of the split, ascending.

    Raises:
        UserError: If there are not more than 150,000.
    """
    number = COUNTS['150k']['train']
    if len(labelled) <= number:
        raise UserError(
            f"protocol='150k' draws {number} pictures for training but Imagelist.txt and Groundtruth have "
            f'{len(labelled)} with a label, none would be left for test: give list_file, or take '
            "protocol='official_labeled'"
        )
    shuffled = np.random.RandomState(0).permutation(labelled)
    return np.sort(shuffled[:number] if split == 'train' else shuffled[number:])


def _read_column(path: str, count: int) -> np.ndarray:
    lines = _read_bytes(path).rstrip().splitlines()
    if not set(lines) <= {b'0', b'1'}:
        lines = [line.strip() for line in lines]
        wrong = next((n for n, line in enumerate(lines) if line not in (b'0', b'1')), None)
        if wrong is not None:
            value = reprlib.repr(lines[wrong].decode(errors='replace'))
            refuse(path, f'line {wrong + 1}', f'expected 0 or 1, got {value}: {_AGAIN}')
    if len(lines) != count:
        raise UserError(
            f'{path}: has {len(lines)} lines but Imagelist.txt has {count}, and there must be one for each picture: '
            'take both from the same download'
        )
    return np.frombuffer(b''.join(lines), np.uint8) == ord('1')


def _read_text(path: str) -> str:
    """Without blank lines at the end."""
    try:
        return _read_bytes(path).decode('utf-8-sig').rstrip()
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: not text in UTF-8 ({error}): {_AGAIN}') from error


def _read_bytes(path: str) -> bytes:
    try:
        return get(path)
    except FileNotFoundError as error:
        raise UserError(
            f'{path}: no such file: set data_root to the folder with Flickr, ImageList and Groundtruth, or unpack '
            'the archive again'
        ) from error

"""The text files of NUS-WIDE: the list of pictures, a column of 0 and 1 for each concept, and the splits in use.

Whatever is wrong with a file is a ``UserError`` that names file and line.
"""

import codecs
import reprlib
from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.fileio import exists, join_path

from mmlattn.utils.errors import UserError

from .annotation_files import numbered_lines, read_bytes, read_class_list, read_text, refuse

# Pictures of each split when nothing is missing. 'official': as its authors say (github.com/NExTplusplus/NUS-WIDE);
# 'official_labeled' and 'srn': as the code of multi-order-RNN and SALGL, and of SRN, says.
COUNTS = {
    'official': dict(train=161_789, test=107_859),
    'official_labeled': dict(train=125_449, test=83_898),
    '150k': dict(train=150_000, test=59_347),
    'srn': dict(train=119_986, test=80_283),
}
_MEND = 'set data_root to the folder with Flickr, ImageList and Groundtruth, or unpack the archive again'
_AGAIN = 'take it from the archive again'


def read_concepts(root: str) -> tuple[str, ...]:
    """The concepts in their order, from the folder where the archive has the list or from the root."""
    paths = [join_path(root, 'ConceptsList', 'Concepts81.txt'), join_path(root, 'Concepts81.txt')]
    path = next((path for path in paths if exists(path)), None)
    if path is None:
        raise UserError(
            f'{paths[0]}: no such file, nor is {paths[1]}: set data_root to the folder with Flickr, ImageList, '
            'ConceptsList and Groundtruth'
        )
    return read_class_list(path, _MEND)


def read_pictures(path: str, skip_blank: bool = False) -> dict[str, int]:
    """A list of pictures: the line of each, counted from 1, by its name with forward slashes."""
    numbers = numbered_lines(path, read_text(path, _MEND).replace('\\', '/'), skip_blank)
    if not numbers:
        raise UserError(f'{path}: is empty: {_AGAIN}')
    return numbers


def find_rows(path: str, pictures: Mapping[str, int]) -> np.ndarray:
    """Where the pictures of a list stand among all ``pictures``; (n,) int64, counted from 0, in its order."""
    listed = read_pictures(path, skip_blank=True)
    for name, number in listed.items():
        if name not in pictures:
            problem = f'{name} is not among the {len(pictures)} pictures of Imagelist.txt'
            refuse(path, f'line {number}', f'{problem}: write it as there, such as {next(iter(pictures))}')
    return np.array([pictures[name] for name in listed]) - 1


def read_labels(root: str, concepts: Sequence[str], count: int) -> np.ndarray:
    """The columns of the concepts, one line of 0 or 1 for each of ``count`` pictures; (count, C) bool."""
    paths = [join_path(root, 'Groundtruth', 'AllLabels', f'Labels_{concept}.txt') for concept in concepts]
    return np.stack([_read_column(path, count) for path in paths], axis=1)


def draw_150k(labelled: np.ndarray, split: str) -> np.ndarray:
    """Our draw of 150,000 pictures for training; the others are for test.

    ``labelled`` (n,) are the rows of the pictures with a label, present on the disk or not; the rows of the split
    come in ascending order. The stream of numpy's ``RandomState`` is the same in all versions.
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
    lines = read_bytes(path, _MEND).removeprefix(codecs.BOM_UTF8).rstrip().splitlines()
    # Millions of lines: only where something else is found is each looked at.
    if not set(lines) <= {b'0', b'1'}:
        lines = [line.strip() for line in lines]
        for number, line in enumerate(lines, start=1):
            if line not in (b'0', b'1'):
                value = reprlib.repr(line.decode(errors='replace'))
                refuse(path, f'line {number}', f'expected 0 or 1, got {value}: {_AGAIN}')
    if len(lines) != count:
        raise UserError(
            f'{path}: has {len(lines)} lines but Imagelist.txt has {count}, and there must be one for each picture: '
            'take both from the same download'
        )
    return np.frombuffer(b''.join(lines), np.uint8) == ord('1')

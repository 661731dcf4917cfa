"""NUS-WIDE: pictures from Flickr with labels of 81 concepts."""

import logging
import os

import numpy as np
from mmengine.fileio import get_file_backend, join_path
from mmengine.logging import print_log
from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice
from mmlattn.utils.errors import UserError

from .annotation_files import check_labels, missing_images, set_classes, why_missing
from .checked_settings import CheckedSettings
from .nus_wide_layout import COUNTS, draw_150k, find_rows, read_concepts, read_labels, read_pictures


@DATASETS.register_module()
class NUSWide(CheckedSettings, MultiLabelDataset):
    """NUS-WIDE, whose text files are checked while loading.

    Each item has ``img_path``, ``img_id`` (the name in ``Imagelist.txt``, with forward slashes) and ``gt_label``
    (sorted indices of the concepts, maybe none). The classes are the concepts in the order of ``Concepts81.txt``.
    How many pictures a split has is logged, as a warning with both numbers if the complete split has others.
    docs/datasets.md has the folder tree, and what is known of the splits.

    Args:
        data_root (str): The folder ``NUS-WIDE``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        protocol (str): Which pictures are in the splits. 'official' (default): all of the authors' two lists;
            'official_labeled': those of them that have a label; '150k': 150,000 of all pictures with a label and the
            others, which without ``list_file`` is **our own draw**, the same every time, and nobody else's; 'srn':
            named after the code that says how many it has, needs ``list_file``.
        list_file (str, optional): With '150k' and 'srn': a text file with the pictures of this split, written as in
            ``Imagelist.txt``. A relative path is below ``data_root``.
        missing (str): What is done about listed pictures that are not there: 'error' (default), or 'skip', which
            leaves them out and counts them in the log. The other pictures stay in their split.
        data_prefix (str): Folder of the pictures. Defaults to 'Flickr'.
        **kwargs: ``pipeline``, ``test_mode``, ``indices``, ``lazy_init`` ... of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: Naming the file, the line and what to mend, for whatever is wrong in the files, for missing
            pictures, and for a list that is needed.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        protocol: str = 'official',
        list_file: str | None = None,
        missing: str = 'error',
        data_prefix: str = 'Flickr',
        **kwargs,
    ) -> None:
        check_choice('split', split, ('train', 'test'))
        check_choice('protocol', protocol, COUNTS)
        check_choice('missing', missing, ('error', 'skip'))
        if list_file is None and protocol == 'srn':
            raise UserError(
                "protocol='srn' needs list_file: which pictures it has is not public. Give a text file with the "
                f'pictures of the split {split!r} as in ImageList/Imagelist.txt, one a line '
                f"({COUNTS['srn'][split]} are published), or take protocol='official_labeled'"
            )
        if list_file is not None and protocol not in ('150k', 'srn'):
            raise UserError(
                f"list_file goes with protocol='150k' or 'srn'; {protocol!r} has lists of its own, got {list_file!r}"
            )
        self.split, self.protocol, self.list_file, self.missing = split, protocol, list_file, missing
        super().__init__('ImageList/Imagelist.txt', data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the text files; returns an item for each picture of the split, in the order of its list."""
        concepts = read_concepts(self.data_root)
        set_classes(self._metainfo, concepts, self.ann_file, 'concepts')
        pictures = read_pictures(self.ann_file)
        labels = read_labels(self.data_root, concepts, len(pictures))
        names = list(pictures)
        # Once: mmengine's join_path would look for it every time.
        backend = get_file_backend(self.img_prefix, enable_singleton=True)
        items = [
            dict(
                img_path=backend.join_path(self.img_prefix, names[row]),
                img_id=names[row],
                gt_label=np.flatnonzero(labels[row]).tolist(),
            )
            for row in self._rows(pictures, labels.any(1)).tolist()
        ]
        gone = set(self._missing([item['img_path'] for item in items]))
        kept = [item for item in items if item['img_path'] not in gone]
        check_labels(kept, concepts, self.ann_file, training=not self.test_mode)
        return kept

    def _rows(self, pictures: dict[str, int], has_label: np.ndarray) -> np.ndarray:
        """Rows of the split in the list of all pictures, those missing included."""
        if self.list_file is not None:
            return find_rows(join_path(self.data_root, os.path.expanduser(self.list_file)), pictures)
        if self.protocol == '150k':
            return draw_150k(np.flatnonzero(has_label), self.split)
        name = f'{self.split.capitalize()}Imagelist.txt'
        listed = find_rows(join_path(self.data_root, 'ImageList', name), pictures)
        return listed[has_label[listed]] if self.protocol == 'official_labeled' else listed

    def _missing(self, paths: list[str]) -> list[str]:
        """The pictures to leave out; logs how many are there."""
        gone = missing_images(paths)
        which = f'protocol {self.protocol!r}, split {self.split!r}'
        if gone and (self.missing == 'error' or len(gone) == len(paths)):
            more = ', ...' if len(gone) > 3 else ''
            mend = "or leave them out with missing='skip'" if len(gone) < len(paths) else 'or unpack them'
            mend = why_missing(gone, f'set data_root and data_prefix to the folder with the pictures, {mend}')
            raise UserError(
                f'{self.ann_file}: {len(gone)} of {len(paths)} pictures of {which}, are missing: '
                f'{", ".join(gone[:3])}{more}: {mend}'
            )
        published, found = COUNTS[self.protocol][self.split], len(paths) - len(gone)
        print_log(
            f'NUS-WIDE, {which}: {found} pictures, {len(gone)} of the {len(paths)} listed are missing; the complete '
            f'split has {published}',
            'current',
            logging.INFO if found == published else logging.WARNING,
        )
        return gone

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        return [
            f'Root of dataset: \t{self.data_root}',
            f'Split: \t{self.split}',
            f'Protocol: \t{self.protocol}',
            f'List of pictures: \t{self.list_file}',
            f'Missing pictures: \t{self.missing}',
        ]

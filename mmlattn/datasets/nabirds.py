"""NABirds: 555 classes of North American birds."""

from mmpretrain.datasets import BaseDataset

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice

from .annotation_files import set_classes
from .checked_settings import CheckedSettings
from .cub_layout import Table, add_relative_box, read_pictures, split_items


@DATASETS.register_module()
class NABirds(CheckedSettings, BaseDataset):
    """NABirds, whose text files are checked while loading.

    Each item has ``img_path`` and ``gt_label``, and with boxes the same fields as :class:`mmlattn.CUBBox`. The files
    number all nodes of a hierarchy; those with pictures (in training or test) are the classes, in the order of their
    numbers, named as in ``classes.txt``. docs/datasets.md has the folder tree.

    Args:
        data_root (str): The folder ``nabirds``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        with_boxes (bool): Whether items have the box around the bird. Defaults to False.
        **kwargs: As of mmpretrain's ``BaseDataset``.

    Raises:
        UserError: Naming the file, the line and what to mend, as :class:`mmlattn.CUBBox` does.
    """

    def __init__(self, data_root: str, split: str = 'train', with_boxes: bool = False, **kwargs) -> None:
        check_choice('split', split, ('train', 'test'))
        self.split, self.with_boxes = split, with_boxes
        super().__init__(ann_file='images.txt', data_root=data_root, data_prefix='images', **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the text files; returns an item for each picture of the split, in the order of the files."""
        table = Table(self.data_root, 'classes.txt', 'class number', 'name')
        names = {}
        for key, (name,) in table.rows.items():
            if not key.isascii() or not key.isdigit():
                table.refuse(key, f'the class number must be a whole number, got {key!r}')
            names[int(key)] = name
        pictures = read_pictures(self.data_root, names, f'one of {table.path}', self.with_boxes)
        class_ids = sorted({class_id for class_id, _, _ in pictures})
        labels = {class_id: label for label, class_id in enumerate(class_ids)}
        classes = tuple(names[class_id] for class_id in class_ids)
        set_classes(self._metainfo, classes, table.path, 'names')
        return split_items(pictures, self.split, labels, classes, self.ann_file)

    def get_data_info(self, idx: int) -> dict:
        """One item, before the pipeline."""
        return add_relative_box(super().get_data_info(idx))

    def extra_repr(self) -> list[str]:
        """Lines on the settings, for ``repr``."""
        root = f'Root of dataset: \t{self.data_root}'
        return [root, f'Split: \t{self.split}', f'Boxes: \t{self.with_boxes}']

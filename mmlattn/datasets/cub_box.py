"""CUB-200-2011 with the box around each bird."""

from mmpretrain.datasets import CUB

from mmlattn.registry import DATASETS
from mmlattn.utils.arguments import check_choice

from .annotation_files import check_classes
from .checked_settings import CheckedSettings
from .cub_layout import add_relative_box, read_pictures, split_items


@DATASETS.register_module()
class CUBBox(CheckedSettings, CUB):
    """mmpretrain's ``CUB`` with boxes, whose text files are checked while loading.

    Each item has ``img_path``, ``gt_label`` (0 to 199), ``width`` and ``height`` of the picture, ``gt_boxes`` (1, 4)
    float32 xyxy in [0, 1] of the original image and ``gt_box_labels`` (1,) int64. Size and box are read when the item
    is asked for. docs/datasets.md has the folder tree.

    Args:
        data_root (str): The folder ``CUB_200_2011``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        **kwargs: As of ``CUB``.

    Raises:
        UserError: Naming the file, the line and what to mend, for whatever is wrong in the files, and for missing
            pictures. A box outside its picture is found when the item is asked for.
    """

    def __init__(self, data_root: str, split: str = 'train', **kwargs) -> None:
        check_choice('split', split, ('train', 'test'))
        super().__init__(data_root, split, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the text files; returns an item for each picture of the split, in the order of the files."""
        self._metainfo['classes'] = check_classes(self.CLASSES, self.ann_file)
        count = len(self.CLASSES)
        labels = {number: number - 1 for number in range(1, count + 1)}
        pictures = read_pictures(self.data_root, labels, f'1 to {count}', with_boxes=True)
        return split_items(pictures, self.split, labels, self.CLASSES, self.ann_file)

    def get_data_info(self, idx: int) -> dict:
        """One item, before the pipeline."""
        return add_relative_box(super().get_data_info(idx))

    def extra_repr(self) -> list[str]:
        """Lines on the split, for ``repr``."""
        return [*super().extra_repr(), f'Split: \t{self.split}']

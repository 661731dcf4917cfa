"""The plain list of images and labels that mmpretrain's ``MultiLabelDataset`` reads, checked while loading."""

from mmpretrain.datasets import MultiLabelDataset

from mmlattn.registry import DATASETS

from .annotation_files import check_images, check_labels, load_json, set_classes
from .checked_settings import CheckedSettings
from .plain_json import SECTIONS, read_plain


@DATASETS.register_module()
class PlainMultiLabel(CheckedSettings, MultiLabelDataset):
    """mmpretrain's ``MultiLabelDataset`` whose annotation file is checked while loading.

    .. code-block:: none

        {"metainfo": {"classes": ["cat", "dog", "bird"]},
         "data_list": [{"img_path": "a.jpg", "gt_label": [0, 2]},
                       {"img_path": "b.jpg", "gt_label": [], "gt_label_ignore": [1]}]}

    mmpretrain trains on a wrong file without a word: a label written twice becomes a target of 2, a one-hot vector
    is taken for indices, a float is cut off. Here each is an error.

    Args:
        ann_file (str): The json. ``gt_label`` and the optional ``gt_label_ignore`` and ``gt_label_difficult`` (whose
            labels may be in ``gt_label`` too, as in VOC) are lists of class indices.
        **kwargs: ``data_root``, ``data_prefix``, ``pipeline``, ``metainfo`` ... of mmpretrain's ``BaseDataset``.
            ``metainfo`` names the classes where the file does not. Where both do they must agree: the indices of
            the file are never reordered.

    Raises:
        UserError: Naming the entry and what to mend, for whatever is wrong in the json (one-hot vectors are
            recognised with three classes or more), for missing pictures, and in training
            for data without any label.
    """

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file; returns the items of mmpretrain's ``MultiLabelDataset``."""
        content = load_json(self.ann_file, SECTIONS)
        classes, entries = read_plain(self.ann_file, content, self._metainfo.get('classes'))
        set_classes(self._metainfo, classes, self.ann_file, 'metainfo')
        self._metainfo = {**content['metainfo'], **self._metainfo}
        items = [self.parse_data_info(item) for item in entries]
        check_images(items, self.ann_file)
        check_labels(items, self.CLASSES, self.ann_file, training=not self.test_mode)
        return items

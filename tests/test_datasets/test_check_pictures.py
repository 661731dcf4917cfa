"""Checks of pictures that no file has."""

import numpy as np
from mmengine.dataset import BaseDataset

from mmlattn.datasets.checks.duplicates import check_duplicates
from mmlattn.datasets.checks.pictures import check_pictures, load_pictures
from mmlattn.datasets.checks.splits import read_split


class InMemory(BaseDataset):
    """As mmpretrain's MNIST and CIFAR keep theirs."""

    METAINFO = dict(classes=('a', 'b'))

    def load_data_list(self):
        return [dict(img=np.zeros((4, 4, 3), np.uint8), gt_label=n % 2) for n in range(6)]


def test_pictures_in_memory_are_passed_over():
    split = read_split('train', InMemory(), complete=True)
    table = load_pictures([split], 1)
    assert split.positives.tolist() == [3, 3] and not table.paths
    assert check_pictures(split, table) == check_duplicates([split], table) == []

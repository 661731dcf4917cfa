"""Evidence written to data samples."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.structures import set_trunk_masks


def test_each_sample_gets_its_own_masks_in_order():
    masks = {'b': torch.rand(2, 3, 4, 5, requires_grad=True).half(), 'a': torch.rand(2, 6, 2, 1)}
    samples = [DataSample(), DataSample()]
    set_trunk_masks(samples, masks)
    for index, sample in enumerate(samples):
        first, second = sample.trunk_masks
        assert torch.equal(first, masks['b'][index].float()) and first.dtype == torch.float32
        assert torch.equal(second, masks['a'][index]) and not first.requires_grad
        assert sample.trunk_mask_names == ('b', 'a')


@pytest.mark.parametrize(
    ('masks', 'said'),
    [
        ({}, 'no masks'),
        ({'m': torch.rand(3, 1, 2, 2)}, r'of m .*\(3, 1, 2, 2\)'),
        ({'m': torch.rand(2, 4)}, '2, 4'),
    ],
)
def test_wrong_masks_are_refused(masks, said):
    with pytest.raises(ValueError, match=said):
        set_trunk_masks([DataSample(), DataSample()], masks)

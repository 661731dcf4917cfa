"""Evidence written to data samples."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmlattn.structures import set_regions, set_trunk_masks


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


@pytest.mark.parametrize('looks', [1, 3])
def test_each_sample_gets_its_own_looks(looks):
    names = ('scale 1', 'scale 2', 'scale 3')[:looks]
    regions = torch.rand(2, looks, 4)
    scores, fused = torch.rand(2, looks, 5, requires_grad=True), torch.rand(2, looks - 1, 5).double()
    samples = [DataSample(), DataSample()]
    set_regions(samples, regions, scores, names=names, fused_scores=fused)
    for index, sample in enumerate(samples):
        for field, batch in dict(regions=regions, region_scores=scores, fused_scores=fused).items():
            value = sample.get(field)
            assert torch.equal(value, batch[index].float()) and not value.requires_grad
            assert value.untyped_storage().nbytes() == 4 * value.numel(), (
                'a view keeps, and dumps, the whole batch'
            )
        assert sample.region_names == names


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        (dict(names=('scale 1', 'scale 2')), "each of 3 regions, got .*'scale 2'"),
        (dict(fused_scores=torch.rand(2, 3, 5)), r'fused_scores .*\(2, 2, C\), got \(2, 3, 5\)'),
        (dict(fused_scores=torch.rand(2, 5)), r'fused_scores .*\(2, 2, C\), got \(2, 5\)'),
    ],
)
def test_wrong_looks_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        set_regions([DataSample(), DataSample()], torch.rand(2, 3, 4), **wrong)

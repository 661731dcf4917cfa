"""The compiled operators of mmcv compute what torchvision's compute."""

import pytest
import torch
import torchvision.ops


@pytest.fixture
def boxes():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator) * 40
    return torch.cat([corners, corners + 4 + torch.rand(300, 2, generator=generator) * 20], dim=1)


@pytest.mark.parametrize('threshold', [0.3, 0.7])
def test_nms(boxes, threshold):
    from mmcv.ops import nms

    scores = torch.linspace(0, 1, len(boxes))
    kept, indices = nms(boxes, scores, threshold)
    expected = torchvision.ops.nms(boxes, scores, threshold)
    assert 10 < len(expected) < len(boxes)
    assert torch.equal(indices, expected)
    assert torch.equal(kept, torch.cat([boxes, scores[:, None]], dim=1)[expected])


@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_and_its_gradient(boxes, sampling_ratio):
    from mmcv.ops import roi_align

    rois = torch.cat([torch.arange(len(boxes))[:, None] % 2, boxes], dim=1).double()
    features = torch.randn(2, 3, 17, 13, dtype=torch.double, requires_grad=True)
    ours = roi_align(features, rois, (7, 5), 0.25, sampling_ratio, 'avg', True)
    # torchvision asks for -1 where mmcv takes 0: as many samples as a bin has pixels.
    theirs = torchvision.ops.roi_align(features, rois, (7, 5), 0.25, sampling_ratio or -1, aligned=True)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weights).sum(), features)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)

"""Soft masks read by hooks."""

import pytest
import torch
from torch import nn

from mmlattn.models import ResidualAttentionNet
from mmlattn.models.ran.mask_recording import record_masks
from mmlattn.models.ran.soft_mask import SoftMask

ARCH = dict(stem_channels=4, channels=(8, 8, 16, 16), modules=(1, 2, 1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.ModuleDict(dict(backbone=ResidualAttentionNet(ARCH, out_indices=(0, 3)))).eval()


def test_masks_by_name_in_network_order(model):
    backbone = model['backbone']
    x = torch.randn(2, 3, 64, 48)
    expected = backbone(x)
    trunks, fused = [], []
    for name, module in backbone.named_modules():
        if name.endswith('.trunk'):
            module.register_forward_hook(lambda _, args, out: trunks.append(out))
        if name.endswith('.post'):
            module.register_forward_pre_hook(lambda _, args: fused.append(args[0]))
    with record_masks(model) as masks:
        assert masks == {}
        out = backbone(x)
    names = ['stage1.attention1', 'stage2.attention1', 'stage2.attention2', 'stage3.attention1']
    assert list(masks) == [f'backbone.{name}' for name in names]
    assert [tuple(m.shape) for m in masks.values()] == [
        (2, 8, 16, 12),
        (2, 8, 8, 6),
        (2, 8, 8, 6),
        (2, 16, 4, 3),
    ]
    for trunk, h, mask in zip(trunks, fused, masks.values(), strict=True):
        torch.testing.assert_close(h, (1 + mask) * trunk)
        assert not mask.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))


def test_only_within_the_context_and_the_latest_pass(model):
    x = torch.randn(2, 3, 32, 32)
    with record_masks(model) as masks:
        model['backbone'](x[:1])
        first = dict(masks)
        model['backbone'](x)
    last = dict(masks)
    model['backbone'](x[:1])
    assert {len(m) for m in first.values()} == {1}
    assert {len(m) for m in last.values()} == {2}
    assert all(masks[name] is last[name] for name in last)
    with pytest.raises(RuntimeError, match='stop'), record_masks(model):
        raise RuntimeError('stop')
    assert not any(m._forward_hooks for m in model.modules() if isinstance(m, SoftMask))


def test_a_model_without_masks_is_refused():
    with pytest.raises(ValueError, match='Linear has no soft mask to record'), record_masks(nn.Linear(1, 1)):
        pass


def test_a_model_compiled_before_runs_with_hooks():
    net = ResidualAttentionNet(dict(stem_channels=4, channels=(8, 8, 8, 8))).eval()
    compiled = torch.compile(net, backend='eager')
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        compiled(x)
        with record_masks(compiled) as masks:
            compiled(x)
    assert list(masks) == ['stage1.attention1', 'stage2.attention1', 'stage3.attention1']

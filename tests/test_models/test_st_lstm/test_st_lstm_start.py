"""How the ST-LSTM neck starts: regions, Xavier's rule, VGG's first layer, weights of others."""

import math

import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from reference.st_lstm import anchor
from torch import nn

from mmlattn.models import STLSTM

TINY = dict(in_channels=3, embed_dims=6, hidden_dims=5, out_dims=7, region_size=4)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def make(**options):
    return STLSTM(**(TINY | options))


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


STARTS = {
    'direct': (dict(), 0.5, 0.0, False),
    'direct, else': (dict(loc_init=dict(scale=0.3, shift=0.1)), 0.3, 0.1, False),
    'residual': (dict(loc_param='residual_anchor'), 0.5, 0.0, True),
    'bounded': (dict(loc_param='bounded'), 0.5, 0.0, False),
    'bounded, else': (
        dict(loc_param='bounded', loc_init=dict(scale=0.7, shift=0.2), scale_range=(0.2, 0.8)), 0.7, 0.2, False,
    ),
}  # fmt: skip


@pytest.mark.parametrize('initialised', [False, True])
@pytest.mark.parametrize(('options', 'scale', 'shift', 'anchored'), STARTS.values(), ids=STARTS)
def test_regions_start_inside_the_band(options, scale, shift, anchored, initialised):
    """W_zm = 0 and b_m such that s = alpha and t = 0, or the anchor: no scale or positive penalty (spec 1.3)."""
    neck = make(**options)
    if initialised:
        # As a classifier does it: an init_cfg for all Linear layers from above.
        BaseModule(init_cfg=dict(type='Normal', layer='Linear', std=1.0)).add_module('neck', neck)
        neck.init_weights()
    assert neck.loc.weight.eq(0).all()
    theta = neck(torch.rand(2, 3, 5, 8)).theta
    centres = torch.tensor([anchor(k, 5) if anchored else (0.0, 0.0) for k in range(1, 6)]) + shift
    torch.testing.assert_close(theta[..., :2], torch.full((2, 5, 2), scale))
    torch.testing.assert_close(theta[..., 2:], centres.expand(2, 5, 2), rtol=0, atol=1e-6)


def test_localisation_learns_from_the_first_step():
    neck = make()
    neck.init_weights()
    neck(torch.rand(2, 3, 5, 8)).pooled.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in neck.parameters())
    assert neck.loc.weight.grad.abs().sum() > 0


def test_initialised_as_configured():
    """The new layers by Xavier (ICCV 2017), each gate as a layer of its own; the rule's bounds are known."""
    neck = make(embed_dims=60)
    for parameter in neck.parameters():
        nn.init.constant_(parameter, 9.0)
    neck.init_weights()
    gates = [*neck.cell.input.weight.chunk(4), *neck.cell.hidden.weight.chunk(4)]
    for weight in (neck.embed.weight, neck.z.weight, *gates):
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.75 * bound < weight.abs().max() <= bound
    assert all(bias.eq(0).all() for bias in (neck.embed.bias, neck.z.bias, neck.cell.input.bias))
    constant = make(init_cfg=dict(type='Constant', layer='Linear', val=0.25))
    constant.init_weights()
    assert constant.z.weight.eq(0.25).all() and constant.loc.weight.eq(0).all()


def vgg_checkpoint(path, shape=(6, 12)):
    state = {
        'backbone.features.0.weight': torch.zeros(1),
        'backbone.classifier.0.weight': torch.randn(shape),
        'backbone.classifier.0.bias': torch.randn(shape[0]),
        'backbone.classifier.3.weight': torch.zeros(shape),
    }
    torch.save(dict(state_dict=state, meta={}), path)
    return state


def test_starts_from_the_first_layer_of_vgg(tmp_path):
    path = str(tmp_path / 'vgg.pth')
    state = vgg_checkpoint(path)
    neck = make(fc_from_vgg=dict(checkpoint=path))
    neck.init_weights()
    assert torch.equal(neck.embed.weight, state['backbone.classifier.0.weight'])
    assert torch.equal(neck.embed.bias, state['backbone.classifier.0.bias'])
    assert neck.loc.weight.eq(0).all() and neck.z.weight.abs().max() > 0
    vgg_checkpoint(path, (6, 13))
    with pytest.raises(ValueError, match=r'\(6, 13\).*\(6, 12\)|\(6, 12\).*\(6, 13\)'):
        make(fc_from_vgg=dict(checkpoint=path)).init_weights()
    with pytest.raises(ValueError, match=r'backbone\.fc6'):
        make(fc_from_vgg=dict(checkpoint=path, prefix='backbone.fc6')).init_weights()


def classifier(**model):
    head = dict(type='LinearClsHead', num_classes=3, in_channels=7)
    return MODELS.build(dict(type='ImageClassifier', backbone=dict(type='LeNet5'), head=head) | model)


def test_weights_loaded_for_the_whole_model_stay(tmp_path):
    """A Pretrained init_cfg of the classifier is applied last."""
    config = dict(type='mmlattn.STLSTM', **(TINY | dict(in_channels=120, region_size=2)))
    source = randomised(classifier(neck=config))
    path = str(tmp_path / 'model.pth')
    torch.save(dict(state_dict=source.state_dict(), meta={}), path)
    model = classifier(neck=config, init_cfg=dict(type='Pretrained', checkpoint=path))
    model.init_weights()
    assert_same_weights(model, source)


def assert_same_weights(ours, theirs):
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_own_pretrained_weights_stay(tmp_path):
    source, path = randomised(make()), str(tmp_path / 'neck.pth')
    torch.save(dict(state_dict=source.state_dict(), meta={}), path)
    neck = make(init_cfg=dict(type='Pretrained', checkpoint=path))
    neck.init_weights()
    assert_same_weights(neck, source)


def test_a_second_initialisation_leaves_trained_weights_alone():
    """As mmengine's does: it warns and returns."""
    source, neck = randomised(make()), make()
    neck.init_weights()
    neck.load_state_dict(source.state_dict())
    neck.init_weights()
    assert_same_weights(neck, source)

"""fc6 and fc7 are those of torchvision's VGG, and load from a classifier's checkpoint."""

import pytest
import torch
import torchvision
from mmpretrain.models import VGG

from mmlattn.models import VGGFCNeck


@torch.no_grad()
def test_vgg_up_to_fc7(tmp_path):
    """The backbone of mmpretrain and our neck, from one checkpoint, against torchvision's VGG cut off before fc8."""
    torch.manual_seed(0)
    theirs = torchvision.models.VGG(torchvision.models.vgg16().features, num_classes=10, init_weights=False)
    theirs.classifier = torch.nn.Sequential(
        torch.nn.Linear(512 * 49, 32), torch.nn.ReLU(), torch.nn.Dropout(),
        torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(32, 10),
    )  # fmt: skip
    names = VGG(16, num_classes=-1).state_dict()  # the same layers in the same order under other names
    weights = dict(zip(names, theirs.features.state_dict().values(), strict=True))
    weights |= {name: value for name, value in theirs.state_dict().items() if name.startswith('classifier')}
    torch.save({f'backbone.{name}': value for name, value in weights.items()}, tmp_path / 'vgg.pth')
    pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'vgg.pth'))
    backbone = VGG(16, num_classes=-1, init_cfg=dict(pretrained, prefix='backbone'))
    neck = VGGFCNeck(embed_dims=32, init_cfg=dict(pretrained, prefix='backbone.classifier'))
    backbone.init_weights()
    neck.init_weights()
    x = torch.randn(2, 3, 96, 96)
    backbone.eval()  # returns nothing
    (fc7,) = neck.eval()(backbone(x))
    theirs.eval()
    expected = theirs.classifier[:5](theirs.avgpool(theirs.features(x)).flatten(1))
    assert expected.abs().sum() > 0
    torch.testing.assert_close(fc7, expected)


def test_frozen_rests_in_training():
    neck = VGGFCNeck(8, 16, dropout=0.5, frozen=True).train()
    x = torch.randn(4, 8, 2, 2)
    assert torch.equal(neck(x)[0], neck(x)[0])
    assert not any(parameter.requires_grad for parameter in neck.parameters())
    free = VGGFCNeck(8, 16, dropout=0.5).train()
    assert not torch.equal(free(x)[0], free(x)[0])


@pytest.mark.parametrize('shape', [(2, 8), (2, 4, 7, 7)])
def test_other_features_are_refused(shape):
    with pytest.raises(ValueError, match='num_classes=-1 of the backbone'):
        VGGFCNeck(8, 16)((torch.zeros(shape),))

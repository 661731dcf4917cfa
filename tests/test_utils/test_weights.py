"""Weights that fit a model, and those that do not."""

import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import nn

from mmlattn.utils.errors import UserError
from mmlattn.utils.weights import load_all_weights


class Net(nn.Module):
    """A classifier as far as names go."""

    def __init__(self, width=4, depth=2, classes=3):
        super().__init__()
        layers = [nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)) for _ in range(depth)]
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)


class Averaged(BaseTTAModel):
    """Several predictions of a network, merged."""

    def __init__(self, module):
        nn.Module.__init__(self)
        self.module = module

    def merge_preds(self, data_samples_list):
        """Not used here."""


def without(state, *parts):
    return {name: value for name, value in state.items() if not any(part in name for part in parts)}


@pytest.mark.parametrize(
    'make',
    [
        lambda state: state,
        lambda state: dict(state_dict=state, meta={}),
        lambda state: {f'module.{name}': value for name, value in state.items()},
        lambda state: without(state, 'num_batches_tracked'),
        lambda state: state | {'teacher.head.weight': torch.ones(9), 'ema_head.bias': torch.ones(1)},
    ],
    ids=['plain', 'checkpoint', 'parallel', 'before-batches-were-counted', 'teacher'],
)
@pytest.mark.parametrize('wrap', [lambda net: net, Averaged], ids=['net', 'tta'])
def test_all_weights_arrive(make, wrap):
    there, here = Net().state_dict(), Net()
    load_all_weights(wrap(here), make(there), 'a.pth')
    assert all(torch.equal(value, there[name]) for name, value in here.state_dict().items())


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (
            lambda: without(Net().state_dict(), 'head'),
            r'^a\.pth holds .*: missing are head\.weight, head\.bias\. Likely .* number of classes or another head$',
        ),
        (
            lambda: Net(classes=7).state_dict(),
            r'of another shape or type are head\.weight \(7 x 4 in the file, 3 x 4 in the model\), '
            r'head\.bias \(7 in the file, 3 in the model\)\. Likely .* number of classes or another head$',
        ),
        (
            lambda: Net(depth=5).state_dict(),
            r': without a place are backbone\.2\.0\.weight, \S+, \S+ \.\.\. \(21 in all\)\. Likely .*another arch',
        ),
        (
            lambda: Net(width=2, depth=1).state_dict(),
            r'missing are backbone\.1\.0\.weight, .* \(6 in all\); of another shape or type are .* \(7 in all',
        ),
        (lambda: dict(optimizer={}), r'missing are backbone.* \(14 in all\)'),
        (lambda: [1], 'no state dict but list'),
    ],
    ids=['no-head', 'classes', 'deeper', 'another', 'empty', 'list'],
)
def test_what_does_not_fit_is_told_in_one_line(make, said):
    with pytest.raises(UserError, match=said) as error:
        load_all_weights(Net(), make(), 'a.pth')
    assert '\n' not in str(error.value)

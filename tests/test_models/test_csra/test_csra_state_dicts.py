"""Every spelling of CSRA weights loads to the same classifier, and wrong settings are refused."""

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_state_dict as mmengine_load
from mmpretrain.models.heads import CSRAClsHead, MultiLabelLinearClsHead

from mmlattn.models import CSRAHead
from mmlattn.utils.stored_settings import decode_settings

H, C, D = 4, 3, 8
WEIGHT = torch.randn(H, C, D, generator=torch.Generator().manual_seed(1))
SPELLINGS = {
    'packed': lambda: {'weight': WEIGHT},
    'mmpretrain': lambda: {f'csra_heads.{h}.head.weight': WEIGHT[h][..., None, None] for h in range(H)},
    'official A': lambda: {f'multi_head.{h}.head.weight': WEIGHT[h][..., None, None] for h in range(H)},
    'official B': lambda: {
        f'classifier.multi_head.{h}.head.weight': WEIGHT[h][..., None, None] for h in range(H)
    },
    'official L1': lambda: {f'classifier.fc{h + 1}.weight': WEIGHT[h][..., None, None] for h in range(H)},
    'official L2': lambda: {
        **{f'head{h + 1}.weight': WEIGHT[h] for h in range(H)},
        'head.weight': torch.zeros(1000, D),
        'head.bias': torch.zeros(1000),
    },
}


@pytest.mark.parametrize('spelling', SPELLINGS)
@pytest.mark.parametrize('load', ['torch', 'mmengine, inside a model'])
@pytest.mark.parametrize('order', [list, reversed])
def test_spellings_load_strictly(spelling, load, order):
    """In whatever order the file has them."""
    head = CSRAHead(C, D, H, 0.5)
    state = dict(order(SPELLINGS[spelling]().items()))
    if load == 'torch':
        head.load_state_dict(state)
    else:
        model = torch.nn.ModuleDict({'head': head})
        mmengine_load(model, {f'head.{k}': v for k, v in state.items()}, strict=True)
    assert torch.equal(head.weight, WEIGHT)


@pytest.mark.parametrize('normalize', [True, False])
def test_official_biases_fold_into_one(normalize):
    """The old COCO ViT files bias the scores of each head; one bias on the logits does the same."""
    biases = torch.randn(H, C)
    state = {f'head{h + 1}.weight': WEIGHT[h] for h in range(H)}
    state |= {f'head{h + 1}.bias': biases[h] for h in range(H)}
    head = CSRAHead(C, D, H, 0.7, normalize=normalize, bias=True)
    head.load_state_dict(dict(state))
    x = torch.randn(2, D, 3, 3)
    expected = 0
    for h, temperature in enumerate([1, 2, 4, 99]):
        s = torch.einsum('cd,bdij->bcij', WEIGHT[h], x).flatten(2) + biases[h][:, None]
        s = s / WEIGHT[h].norm(dim=1)[:, None] if normalize else s
        att = s.amax(-1) if temperature == 99 else ((temperature * s).softmax(-1) * s).sum(-1)
        expected = expected + s.mean(-1) + 0.7 * att
    torch.testing.assert_close(head((x,)), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match='bias=True'):
        CSRAHead(C, D, H, 0.7).load_state_dict(dict(state))


def test_linear_checkpoint_becomes_training_free_csra():
    linear = MultiLabelLinearClsHead(C, D)
    head = CSRAHead(C, D, lam=0.4, temperatures=[99], normalize=False, bias=True)
    head.load_state_dict(linear.state_dict())
    x = torch.randn(2, D, 3, 3)
    scores = torch.einsum('cd,bdij->bcij', linear.fc.weight, x)
    torch.testing.assert_close(head((x,)), linear((x.mean((2, 3)),)) + 0.4 * scores.amax((2, 3)))
    with pytest.raises(ValueError, match='normalize=False'):
        CSRAHead(C, D, 1, 0.4).load_state_dict(linear.state_dict())
    head.load_state_dict({'fc.weight': linear.fc.weight})
    assert not head.bias.any()


@pytest.mark.parametrize(
    ('changed', 'argument'),
    [
        (dict(lam=0.4), 'lam'),
        (dict(temperatures=[1, 2, 3, 99]), 'temperatures'),
        (dict(normalize=False), 'normalize'),
    ],
)
def test_other_settings_are_an_error_even_when_loading_loosely(changed, argument):
    stored = CSRAHead(C, D, H, 0.5).state_dict()
    other = CSRAHead(**{'num_classes': C, 'in_channels': D, 'num_heads': H, 'lam': 0.5, **changed})
    with pytest.raises(ValueError, match=f'trained with {argument}'):
        other.load_state_dict(stored, strict=False)
    with pytest.raises(ValueError, match=f'trained with {argument}'):
        mmengine_load(other, stored, strict=False)


@pytest.mark.parametrize(
    'stored',
    [
        MultiLabelLinearClsHead(1000, D).state_dict(),
        CSRAHead(20, D, 1, 0.1).state_dict(),
        CSRAClsHead(20, D, 1, 0.1).state_dict(),
    ],
    ids=['linear', 'ours', 'mmpretrain'],
)
def test_fine_tuning_from_another_number_of_classes_loads_the_rest(stored):
    """As with every head of OpenMMLab: a loose load reports the classifier and goes on."""
    head = CSRAHead(C, D, H, 0.5)
    before = head.weight.clone()
    mmengine_load(head, stored, strict=False)
    assert torch.equal(head.weight, before) and decode_settings(head.stored_settings)['lam'] == 0.5
    with pytest.raises(RuntimeError):
        head.load_state_dict(stored)


def test_lam_may_change_and_is_stored():
    head = CSRAHead(C, D, H, 0.5)
    head.lam = 0.25
    CSRAHead(C, D, H, 0.25).load_state_dict(head.state_dict())
    with pytest.raises(ValueError, match=r'trained with lam=0\.25'):
        CSRAHead(C, D, H, 0.5).load_state_dict(head.state_dict())
    for fixed in ('temperatures', 'normalize'):
        with pytest.raises(AttributeError):
            setattr(head, fixed, None)


def test_a_gap_between_heads_is_refused():
    heads = {f'csra_heads.{h}.head.weight': WEIGHT[0] for h in (0, 3)}
    with pytest.raises(ValueError, match=r'numbers \[0, 3\]'):
        CSRAHead(C, D, 2, 0.5).load_state_dict(heads)


def test_wrong_number_of_heads_is_named():
    with pytest.raises(ValueError, match=r'holds 4 CSRA classifiers.*this head has 2'):
        CSRAHead(C, D, 2, 0.5).load_state_dict(SPELLINGS['mmpretrain']())


def test_missing_weights_are_still_reported():
    with pytest.raises(RuntimeError, match='weight'):
        CSRAHead(C, D, H, 0.5).load_state_dict({})


def test_settings_survive_halving_and_averaging():
    head = CSRAHead(C, D, H, 0.3)
    head.load_state_dict({k: v.half() if v.is_floating_point() else v for k, v in head.state_dict().items()})
    ema = ExponentialMovingAverage(head, update_buffers=True)
    ema.update_parameters(head)
    ema.update_parameters(head)
    CSRAHead(C, D, H, 0.3).load_state_dict(ema.module.state_dict())

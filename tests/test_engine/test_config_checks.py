"""What the comparison of a config's parts lets pass; what it refuses is in ``test_utils/test_mistakes.py``."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmlattn.engine.hooks.config_checks import _check_loss_weights, _check_paramwise
from mmlattn.utils.errors import UserError


def check_paramwise(constructor=None, **paramwise):
    model = nn.Linear(2, 2)
    cfg = ConfigDict(optim_wrapper=dict(paramwise_cfg=paramwise))
    if constructor is not None:
        cfg.optim_wrapper.constructor = constructor
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0))
    runner = SimpleNamespace(
        cfg=cfg, model=model, optim_wrapper=wrapper, logger=logging.getLogger('paramwise')
    )
    _check_paramwise(runner)


@pytest.mark.parametrize(
    'custom', [dict(decay_mult=0, lars_exclude=True), dict(fix_lr=True), dict(lr_mult=0.1, momentum=0.5)]
)
def test_custom_keys_that_an_optimizer_or_hook_of_mmpretrain_reads(custom):
    check_paramwise(custom_keys=dict(bias=custom))


@pytest.mark.parametrize('constructor', [DefaultOptimWrapperConstructor, 'DefaultOptimWrapperConstructor'])
def test_constructors_by_class_and_by_name(constructor):
    with pytest.raises(UserError, match='did you mean lr_mult'):
        check_paramwise(constructor, custom_keys=dict(bias=dict(lr_multi=10)))


def test_weights_of_a_loss_as_torch_keeps_them():
    head = nn.Module()
    head.num_classes, head.loss_module = 3, nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))
    _check_loss_weights(head)
    head.loss_module = nn.BCEWithLogitsLoss(pos_weight=torch.ones(2))
    with pytest.raises(UserError, match='has 2 entries, the head 3 classes'):
        _check_loss_weights(head)

"""The recipes of ML-Decoder and Query2Label against what their authors' scripts do, and what the heads cost."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
NAMES = ('ml-decoder_r101_coco', 'q2l_r101_coco')


def config(name):
    return Config.fromfile(ROOT / f'configs/{name}.py')


def small_model(cfg):
    """With layers of the same names."""
    cfg.model.backbone.update(depth=18, init_cfg=None)
    cfg.model.head.update(embed_dims=8, feedforward_dims=8)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg.model)


@pytest.mark.parametrize(('name', 'epochs'), zip(NAMES, (40, 80), strict=True))
def test_learning_rates_are_those_of_torchs_one_cycle(name, epochs):
    """Of every step; only the first beta of theirs moves."""
    cfg, steps = config(name), 7
    ours, theirs = (torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4) for _ in range(2))
    (cycle,) = (dict(scheduler) for scheduler in cfg.param_scheduler)
    assert cycle.pop('convert_to_iter_based') and cfg.train_cfg.max_epochs == epochs
    cycle = PARAM_SCHEDULERS.get(cycle.pop('type')).build_iter_from_epoch(
        optimizer=OptimWrapper(ours), epoch_length=steps, **cycle
    )
    expected = OneCycleLR(theirs, max_lr=1e-4, steps_per_epoch=steps, epochs=epochs, pct_start=0.2)
    for step in range(epochs * steps):
        assert ours.param_groups[0]['lr'] == pytest.approx(theirs.param_groups[0]['lr'], rel=1e-9), step
        for optimizer, schedule in ((ours, cycle), (theirs, expected)):
            optimizer.step()
            if step < epochs * steps - 1:
                schedule.step()


def test_what_decays_and_what_learns():
    """ML-Decoder: nothing of one axis decays, queries do not learn. Query2Label: norms, stem, first stage rest."""
    cfg = config(NAMES[0])
    model = small_model(cfg)
    decays = {
        id(p): g['weight_decay']
        for g in build_optim_wrapper(model, cfg.optim_wrapper).param_groups
        for p in g['params']
    }
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name != 'head.decoder.queries'), name
        if parameter.requires_grad:
            assert decays[id(parameter)] == (1e-4 if parameter.dim() > 1 else 0), name
    cfg = config(NAMES[1])
    model = small_model(cfg).train()
    assert {g['weight_decay'] for g in build_optim_wrapper(model, cfg.optim_wrapper).param_groups} == {1e-2}
    rests = {name for name, p in model.backbone.named_parameters() if not p.requires_grad}
    convolutions = {name for name, p in model.backbone.named_parameters() if p.dim() == 4}
    assert rests >= {name for name, p in model.backbone.named_parameters() if p.dim() == 1}
    assert rests & convolutions == {name for name in convolutions if name.startswith(('conv1', 'layer1'))}
    assert not any(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert all(p.requires_grad for p in model.head.parameters())


def costs_of_heads():
    """Parameters and multiply-adds at 448 pixels, 14 x 14 locations, by hand."""
    locations, classes, d, wide = 196, 80, 768, 2048
    looks = 2 * classes * d**2 + 2 * locations * d**2 + 2 * classes * locations * d
    decoder = locations * 2048 * d + looks + 2 * classes * d * wide + classes * d
    d, wide = 2048, 8192
    encoder = 4 * locations * d**2 + 2 * locations**2 * d + 2 * locations * d * wide
    looks = 2 * classes * d**2 + 2 * locations * d**2 + 2 * classes * locations * d
    transformer = encoder + 2 * (looks + 2 * classes * d * wide) + classes * d
    return {
        'linear_r101_coco': (81 * 2048 - 2048 + 80, 80 * 2048),
        'csra_r101_coco': (4 * 80 * 2048, 4 * 80 * 2048 * locations),
        NAMES[0]: (7_212_112, decoder),
        NAMES[1]: (151_406_672, transformer),
    }


@pytest.mark.parametrize('name', costs_of_heads())
def test_costs_of_the_page(name):
    """What ``get_flops.py`` counts is what the closed form says, and what docs/rivals.md has."""
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
        head = MODELS.build(config(name).model.head).eval()
        x = torch.empty(1, 2048) if name.startswith('linear') else torch.empty(1, 2048, 14, 14)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        head((x,))
    costs = (sum(p.numel() for p in head.parameters()), counter.get_total_flops() // 2)
    assert costs == costs_of_heads()[name]
    row = next(line for line in (ROOT / 'docs/rivals.md').read_text().splitlines() if f'`{name}.py`' in line)
    assert all(f'{cost:,}' in row for cost in costs)

"""RA-CNN's configs: sizes of the paper's model, schedules that fit together, and a whole run on drawn birds."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fine_grained_fixtures import write_cub
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image
from tiny_run import run_tool

CONFIGS = Path(__file__).parents[1] / 'configs'
NAMES = sorted(path.stem for path in CONFIGS.glob('racnn_*.py'))
PHOTOS = [name for name in NAMES if not name.endswith(('digits', 'logos27'))]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def stages(cfg):
    (hook,) = (hook for hook in cfg.custom_hooks if hook.type.endswith('RACNNPhaseHook'))
    hook = HOOKS.build(hook)
    hook.before_run(SimpleNamespace(cfg=cfg))
    return hook.schedule.stages


def test_the_papers_model_has_the_papers_size():
    """Public layers and net definition of the authors; the two fusion layers were separate."""
    cfg = Config.fromfile(CONFIGS / 'racnn_vgg19_cub.py')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    count = sum(parameter.numel() for parameter in model.parameters())
    fusion = sum(parameter.numel() for parameter in model.fusion.parameters())
    assert (count - fusion, fusion) == (265_910_046, 512_400)
    assert [sum(p.numel() for p in net.backbone.parameters()) for net in model.nets] == [20_024_384] * 3
    assert [sum(p.numel() for p in apn.parameters()) for apn in model.localizers] == [102_764_547] * 2
    assert model.net(0).head.scale == 0.1


@pytest.mark.parametrize('name', NAMES)
def test_phases_fill_the_training(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert sum(stage.length for stage in stages(cfg)) == cfg.train_cfg.max_epochs
    phases = [stage.phase for stage in stages(cfg)]
    assert phases[-1] == 'cls'
    if not cfg.model.localizer.type.endswith('APN'):
        assert phases == ['cls']  # nothing else learns
    elif cfg.load_from is None:
        assert phases[:2] == ['cls', 'pretrain_apn']
    else:  # from networks that know crops
        assert phases[0] == 'pretrain_apn' and 'apn' in phases
    assert cfg.find_unused_parameters


@pytest.mark.parametrize('name', PHOTOS)
def test_rates_fall_in_the_final_stage(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), cfg.optim_wrapper)
    scheduler = PARAM_SCHEDULERS.build(dict(cfg.param_scheduler[1], optimizer=wrapper))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        rates.append(wrapper.param_groups[0]['lr'])
        wrapper.optimizer.step()
        scheduler.step()
    start = sum(stage.length for stage in stages(cfg)[:-1])
    peak = cfg.optim_wrapper.optimizer.lr
    assert rates == pytest.approx([peak] * start + [peak / 10] * 10 + [peak / 100] * 10)


@pytest.mark.parametrize('name', PHOTOS)
def test_pictures_keep_their_shape_and_are_448(name, tmp_path):
    """A circle stays one: the short side goes to 512, and 448 x 448 pixels are cut out."""
    y, x = np.mgrid[:300, :500]
    disc = ((x - 250) ** 2 + (y - 150) ** 2 < 60**2).astype(np.uint8) * 255
    Image.fromarray(disc).convert('RGB').save(tmp_path / 'disc.png')
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        pipeline = Compose([TRANSFORMS.build(step) for step in loader.dataset.pipeline])
        inputs = pipeline(dict(img_path=str(tmp_path / 'disc.png'), gt_label=0))['inputs']
        assert inputs.shape == (3, 448, 448)
    rows, columns = (inputs[0].numpy() > 127).any(1).sum(), (inputs[0].numpy() > 127).any(0).sum()
    assert rows == pytest.approx(120 * 512 / 300, abs=3) and columns == pytest.approx(rows, abs=2)


@pytest.mark.slow
def test_trains_and_tests_on_cub(tmp_path):
    """Every phase of racnn_r50_cub.py on a few drawn birds, then all its metrics and drawings."""
    root = write_cub(tmp_path, num_classes=3, per_class=4)
    config = CONFIGS / 'racnn_r50_cub.py'
    options = [f'{loader}_dataloader.dataset.data_root={root}' for loader in ('train', 'val', 'test')]
    options += [f'{loader}_dataloader.num_workers=0' for loader in ('train', 'val', 'test')]
    options += [
        'model.backbone.init_cfg=None', 'model.backbone.depth=18', 'model.backbone.stem_channels=8',
        'model.backbone.base_channels=8', 'model.head.in_channels=64', 'model.localizer.in_channels=64',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=4', 'train_cfg.val_interval=4', 'phases.warmup=1', 'phases.pretrain_apn=1',
        'phases.cls=0', 'phases.apn=1', 'phases.max_cycles=1', 'phases.final=1',
    ]  # fmt: skip
    trained = run_tool(
        'train.py', config, '--work-dir', tmp_path / 'run', '--cfg-options', *options, cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    log = trained.stdout + trained.stderr
    for switch in (
        'warm-up (cls) ends',
        'pre-training (pretrain_apn) ends',
        'cycle 1 (apn) ends',
        'training ends',
    ):
        assert switch in log
    tested = run_tool(
        'test.py', config, tmp_path / 'run/epoch_4.pth', '--work-dir', tmp_path / 'test', '--show-dir',
        tmp_path / 'shown', '--cfg-options', *options, cwd=tmp_path,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr
    (scores,) = (tmp_path / 'test').rglob('[0-9]*/[0-9]*.json')
    metrics = json.loads(scores.read_text())
    assert {'accuracy/top1', 'scales/scale_1+2+3', 'regions/scale_3_iou'} <= metrics.keys()
    assert list((tmp_path / 'shown').rglob('*.png'))

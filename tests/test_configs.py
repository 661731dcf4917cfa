"""Every config parses, builds, takes a training and a test step, and survives being dumped."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, METRICS, VISUALIZERS, DefaultScope
from mmengine.registry import MODELS as ROOT_MODELS
from mmpretrain.registry import DATASETS, MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

FOLDER = Path(__file__).parents[1] / 'configs'
CONFIGS = sorted(FOLDER.glob('*.py'))
# Detection configs inherit from mmdet's, which may be missing: tests/test_detection/ takes them.
CONFIGS = [path for path in CONFIGS if 'mmdet::' not in path.read_text()]
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def cfg(request):
    return Config.fromfile(request.param)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def without_pretrained(model):
    """Weights by URL are not fetched; a transformer takes a small image and few layers or is narrow, VGG's fc6 and
    fc7 have few outputs, a localizer few cells; label frequencies are made up.
    """
    model.backbone.init_cfg = None
    if model.type.endswith('RACNN'):
        model.crop.size = 64 if model.crop.size > 64 else model.crop.size
        if model.localizer.type.endswith('APN'):
            model.localizer.spatial = 2
    if model.get('neck') and model.neck.get('fc_from_vgg'):
        model.neck.embed_dims = 64
    if model.head.type.endswith('CNNRNNHead'):
        model.head.label_freq = list(range(model.head.num_classes))
        if model.get('neck') and model.neck.type.endswith('VGGFCNeck'):
            model.neck.update(embed_dims=64, init_cfg=None)
            model.head.in_channels = 64
    if model.head.type.endswith('Query2LabelHead'):
        model.head.update(embed_dims=64, feedforward_dims=64)
    if model.backbone.type == 'VisionTransformer':
        model.backbone.update(
            img_size=64,
            arch=dict(embed_dims=model.head.in_channels, num_layers=1, num_heads=16, feedforward_channels=64),
        )
    return model


def test_one_training_and_one_test_step(cfg):
    torch.manual_seed(0)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(without_pretrained(cfg.model))
    side = 32 if cfg.model.backbone.type.endswith('_CIFAR') else 64
    if cfg.model.type.endswith('MultiCropClassifier'):
        side = 2 * cfg.model.get('margin', 64)
    shape = (cfg.model.backbone.get('in_channels', 3), side, side)
    images = [torch.randint(0, 255, shape, dtype=torch.uint8) for _ in range(2)]
    last = cfg.model.head.num_classes - 1
    labels = [[0, last], []] if cfg.data_preprocessor.get('to_onehot') else [0, last]

    def batch():
        return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])

    losses = model(**model.data_preprocessor(batch(), True), mode='loss')
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f'{name} takes no part in the loss'
            assert parameter.grad.isfinite().all(), name
    model.eval()
    with torch.no_grad():
        for sample in model.test_step(batch()):
            assert sample.pred_score.shape == (cfg.model.head.num_classes,)


def test_every_type_is_known_and_class_counts_agree(cfg):
    for name in LOADERS:
        dataset = cfg[name].dataset
        assert DATASETS.get(dataset.type), dataset.type
        dataset = dataset.get('dataset', dataset)  # under a wrapper
        assert DATASETS.get(dataset.type), dataset.type
        for transform in dataset.pipeline:
            assert TRANSFORMS.get(transform.type) or MODELS.get(transform.type), transform.type
    for name in ('val_evaluator', 'test_evaluator'):
        for metric in cfg[name] if isinstance(cfg[name], (list, tuple)) else [cfg[name]]:
            METRICS.build(metric)
    VISUALIZERS.build(dict(dict(name='contract'), **cfg.visualizer))  # VisualizationHook asks for one
    for hook in [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]:
        HOOKS.build(hook)
    assert cfg.data_preprocessor.num_classes == cfg.model.head.num_classes
    gpus, rest = divmod(cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.batch_size)
    assert (gpus, rest) in {(1, 0), (8, 0)}  # the usual machines


def test_loaders_without_workers_keep_none(cfg):
    """Torch refuses ``persistent_workers`` then, which mmpretrain's own ``train.py`` sets by itself."""
    for loader in map(cfg.get, LOADERS):
        assert loader.get('num_workers') or loader.get('persistent_workers') is False


def test_dumped_config_needs_nothing_else(cfg, tmp_path):
    path = tmp_path / 'dumped.py'
    cfg.dump(str(path))
    assert Config.fromfile(path).to_dict() == cfg.to_dict()


def test_names_are_unique_and_flat():
    names = [path.name for path in FOLDER.rglob('*.py')]
    assert len(names) == len(set(names))


@pytest.mark.parametrize('path', sorted(FOLDER.rglob('*.py')), ids=lambda path: path.stem)
def test_first_line_says_what_it_is(path):
    """A whole sentence, in the docstring of a config or the first comment of a base."""
    first = path.read_text().splitlines()[0]
    start = '# ' if '_base_' in path.parts else '"""'
    assert re.match(rf'{start}\S.{{15,}}?[.](?: |"""|$)', first), first


def test_no_config_repeats_another():
    """Neither in what its lines say, nor a base by inheriting data sets only to delete them."""
    said = defaultdict(list)
    for path in FOLDER.rglob('*.py'):
        tree = ast.parse(path.read_text())
        statements = [node for node in tree.body if not isinstance(node, ast.Expr)]
        said[ast.unparse(statements)].append(path.name)
    assert [names for names in said.values() if len(names) > 1] == []
    bases = (FOLDER / '_base_' / 'datasets').glob('*.py')
    assert [path.name for path in bases if '_delete_' in path.read_text()] == []


def test_hooks_of_the_runtime_are_written_once():
    for path in FOLDER.rglob('*.py'):
        for hook in ('ReproducibilityHook', 'ClassNamesHook'):
            assert hook not in path.read_text() or path.name == 'default_runtime.py', path


def test_config_of_the_page_for_your_own_list(tmp_path):
    page = (FOLDER.parent / 'docs/datasets.md').read_text()
    code = page.split('## Your own list')[1].split('```python\n')[1].split('```')[0]
    (tmp_path / 'mine.py').write_text(code.replace("'_base_/", f"'{FOLDER}/_base_/"))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    for loader, pipeline in zip(LOADERS, ('train', 'test', 'test'), strict=True):
        dataset = cfg[loader].dataset
        assert dataset.type == 'mmlattn.PlainMultiLabel' and dataset.data_root == 'data/mine/'
        assert dataset.pipeline == cfg[f'{pipeline}_pipeline']
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 3


def test_root_registry_builds_our_models():
    assert ROOT_MODELS.get('mmlattn.CSRAHead')


def test_learning_rates_of_the_official_recipe():
    """The lr of every epoch of the COCO recipe (backbone group), as the authors' schedule has it."""
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = Config.fromfile(FOLDER / 'csra_r101_coco.py')
    iters = 10
    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=cfg.optim_wrapper.optimizer.lr))
    warm_up = dict(cfg.param_scheduler[0])
    assert warm_up.pop('convert_to_iter_based')
    warm_up = PARAM_SCHEDULERS.get(warm_up.pop('type')).build_iter_from_epoch(
        optimizer=wrapper, epoch_length=iters, **warm_up
    )
    step = dict(cfg.param_scheduler[1])
    step = PARAM_SCHEDULERS.build(dict(step, optimizer=wrapper))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs):
        for _ in range(iters):
            rates.append(wrapper.param_groups[0]['lr'])
            parameter.grad = torch.zeros(1)
            wrapper.step()
            warm_up.step()
        step.step()
    first = [rates[epoch * iters + iters - 1] for epoch in range(cfg.train_cfg.max_epochs)]
    assert rates[: 2 * iters] == pytest.approx([0.01 * t / (2 * iters) for t in range(2 * iters)])
    assert first[2:5] == pytest.approx([0.01] * 3)
    assert first[5:10] == pytest.approx([1e-3] * 5)
    assert first[25:] == pytest.approx([1e-7] * 5)

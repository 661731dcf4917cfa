"""What the RAN configs do to pictures, labels and learning rates."""

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS
from PIL import Image
from test_tools.test_fashion_mnist import SPLITS, idx
from tiny_run import run_tool

from mmlattn.apis.flops import count
from mmlattn.datasets.label_flips import flip_labels, symmetric_transition
from mmlattn.models.ran.residual_units import PreActUnit

CONFIGS = Path(__file__).parents[1] / 'configs'


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def base(name):
    return Config.fromfile(CONFIGS / '_base_' / name)


def pipeline(steps):
    return Compose([TRANSFORMS.build(step) for step in steps])


@pytest.mark.parametrize('name', ['cifar10_ran', 'cifar100_ran'])
def test_cifar_is_padded_with_what_becomes_zero(name):
    cfg = base(f'datasets/{name}.py')
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    preprocessor = MODELS.build(dict(type='ClsDataPreprocessor', **cfg.data_preprocessor))
    mean = np.array(cfg.data_preprocessor.mean)
    # All 9 x 9 places and both directions, as numpy would cut them from the padded picture.
    padded = np.pad(picture - mean, ((4, 4), (4, 4), (0, 0)))
    expected = {
        (y, x, flip): padded[y : y + 32, x : x + 32][:, :: -1 if flip else 1]
        for y in range(9)
        for x in range(9)
        for flip in (False, True)
    }
    augment, seen = pipeline(cfg.train_pipeline), set()
    np.random.seed(0)
    for _ in range(60):
        packed = augment(dict(img=picture, gt_label=3))
        got = preprocessor(dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']]), True)
        got = got['inputs'][0].permute(1, 2, 0).numpy()
        matches = [place for place, crop in expected.items() if abs(crop - got).max() <= 0.5 + 1e-4]
        assert len(matches) == 1
        seen.add(matches[0])
    ys, xs, flips = zip(*seen, strict=True)
    assert {min(ys), max(ys), min(xs), max(xs)} == {0, 8} and set(flips) == {False, True}


def test_fashion_mnist_is_padded_around():
    cfg = base('datasets/fashion-mnist_32.py')
    picture = np.random.default_rng(0).integers(1, 256, (28, 28), dtype=np.uint8)
    packed = pipeline(cfg.test_pipeline)(dict(img=picture, gt_label=3))
    assert packed['inputs'].tolist() == [np.pad(picture, 2).tolist()]
    assert pipeline(cfg.train_pipeline)(dict(img=picture, gt_label=3))['inputs'].shape == (1, 32, 32)


def test_lighting_follows_the_principal_components_and_wraps_nowhere():
    """On black and white alike; the covariance is that of the published eigenvectors, which are for RGB."""
    cfg = base('datasets/imagenet_ran.py')
    assert cfg.train_pipeline[0].to_float32
    (lighting,) = (pipeline([step]) for step in cfg.train_pipeline if step.type == 'Lighting')
    np.random.seed(0)
    changes = np.array(
        [
            (lighting(dict(img=np.full((1, 1, 3), grey, np.float32)))['img'] - grey)[0, 0, ::-1]
            for grey in (0, 255)
            for _ in range(4000)
        ]
    )
    vectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    expected = vectors @ np.diag((0.1 * 255 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ vectors.T
    # The standard error of a (co)variance of 8000 draws is at most sqrt(2 / 8000) = 1.6 % of the largest.
    np.testing.assert_allclose(np.cov(changes.T), expected, atol=5 * 0.016 * expected.max())
    assert abs(changes).max() < 6 * math.sqrt(expected.max())
    spread = np.cov((changes @ vectors).T)  # along the components: an order of channels mixed up shows here
    np.testing.assert_allclose(
        np.diag(spread), (25.5 * np.array([0.2175, 0.0188, 0.0045])) ** 2, rtol=5 * 0.016
    )


@pytest.mark.parametrize('name', ['imagenet_ran', 'imagenet_modern'])
def test_imagenet_sizes(name, tmp_path):
    cfg = base(f'datasets/{name}.py')
    Image.new('RGB', (600, 400)).save(tmp_path / 'a.png')
    steps = {224: cfg.train_pipeline, (224,): cfg.val_dataloader.dataset.pipeline, 320: cfg.test_pipeline_320}
    for size, wanted in steps.items():
        side = size[0] if isinstance(size, tuple) else size
        packed = pipeline(wanted)(dict(img_path=str(tmp_path / 'a.png'), gt_label=3))
        assert packed['inputs'].shape == (3, side, side)


def test_modern_schedule():
    """Linear warm-up over 5 epochs, then half a cosine; no weight decay on any normalisation layer."""
    cfg = base('schedules/ran_imagenet_modern_100e.py')
    backbone = dict(type='mmlattn.ResidualAttentionNet_CIFAR', arch=dict(stem_channels=4, channels=(8, 8, 8)))
    model = MODELS.build(backbone)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    decay = {id(group['params'][0]): group['weight_decay'] for group in wrapper.optimizer.param_groups}
    norms = {
        id(p) for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters(False)
    }
    assert decay == {id(p): 0.0 if id(p) in norms else 1e-4 for p in model.parameters()}
    length, rates = 20, []
    schedulers = [
        PARAM_SCHEDULERS.get(step.pop('type')).build_iter_from_epoch(
            optimizer=wrapper,
            epoch_length=length,
            **{key: value for key, value in step.items() if key != 'convert_to_iter_based'},
        )
        for step in map(dict, cfg.param_scheduler)
    ]
    for _ in range(cfg.train_cfg.max_epochs * length):
        rates.append(wrapper.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.001)
    assert np.diff(rates[: 5 * length], 2) == pytest.approx(0)  # a straight line
    assert rates[5 * length] == pytest.approx(0.1, rel=1e-3)
    for epoch in (20, 52.5, 90, 99):
        expected = 0.05 * (1 + math.cos(math.pi * (epoch - 5) / 95))
        assert rates[int(epoch * length)] == pytest.approx(expected, rel=0.01, abs=1e-5)


@pytest.mark.parametrize(
    ('name', 'percents'),
    [
        ('ran_attention92_cifar10', (10, 30, 50, 70)),
        ('ran_attention56-mini_cifar10-part', (30,)),
        ('residual-mini-cost_cifar10-part', (30,)),
    ],
)
def test_noise_configs_change_the_labels_and_nothing_else(name, percents):
    clean = Config.fromfile(CONFIGS / f'{name}.py').to_dict()
    for percent in percents:
        noisy = Config.fromfile(CONFIGS / f'{name}_noise{percent}.py').to_dict()
        wrapper = noisy['train_dataloader'].pop('dataset')
        inner = wrapper.pop('dataset')
        assert wrapper == dict(
            type='mmlattn.NoisyLabels', kind='symmetric', level=pytest.approx(percent / 100), seed=0
        )
        noisy['train_dataloader']['dataset'] = inner
        assert noisy == clean


def test_networks_that_are_compared_cost_the_same_or_are_as_deep():
    """Depth is that of the trunk: units one after the other."""

    def network(name):
        cfg = Config.fromfile(CONFIGS / f'{name}_cifar10-part.py').to_dict()
        model = MODELS.build(cfg.pop('model'))
        names = dict(model.named_modules())
        deep = [key for key, part in names.items() if isinstance(part, PreActUnit) and '.mask.' not in key]
        return cfg, count(model, 32, 32)[''].multiply_adds, len(deep)

    recipe, cost, depth = network('ran_attention56-mini')
    same_recipe, same_cost, _ = network('residual-mini-cost')
    assert same_recipe == recipe and same_cost == pytest.approx(cost, rel=1e-3)
    same_recipe, _, same_depth = network('residual-mini-depth')
    assert same_recipe == recipe and same_depth == depth == 18


@pytest.mark.parametrize(
    ('name', 'trunk', 'last'),
    [
        ('linear_mobilenet-v2_cub2010-50', None, 0.0),
        ('ran-wrapper_mobilenet-v2_cub2010-50', None, 0.0),
        ('linear_mobilenet-v2_cub2010-50_tuned', 0.03, 0.03),
        ('ran-wrapper_mobilenet-v2_cub2010-50_tuned', 0.03, 0.03),
    ],
)
def test_what_of_a_pretrained_trunk_learns(name, trunk, last):
    """Shares of the rate: masks and head 1; stages 1 to 5 nothing; 6, 7 and the last convolution as given."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.model.backbone.get('backbone', cfg.model.backbone).init_cfg = None
    model = MODELS.build(cfg.model).train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    rates = {id(group['params'][0]): group['lr'] for group in wrapper.optimizer.param_groups}
    shares = {
        name: round(rates[id(p)] / cfg.optim_wrapper.optimizer.lr, 6) if p.requires_grad else None
        for name, p in model.named_parameters()
    }
    kinds = dict(mask=set(), head=set(), conv2=set(), upper=set(), lower=set())
    for parameter, share in shares.items():
        layer = parameter.split('.conv.')[0].split('.')
        kind = 'mask' if 'mask' in layer else layer[0] if layer[0] == 'head' else layer[-1]
        if kind not in kinds:
            stage = next(part for part in layer if part.startswith(('layer', 'conv')))
            kind = 'conv2' if stage == 'conv2' else 'upper' if stage in ('layer6', 'layer7') else 'lower'
        kinds[kind].add(share)
    masks = {1.0} if 'wrapper' in name else set()
    assert kinds == dict(mask=masks, head={1.0}, conv2={last}, upper={trunk}, lower={None})


@pytest.mark.slow
def test_the_cifar_recipe_trains_on_noisy_labels(tmp_path):
    """The narrow net on a few drawn pictures, with every milestone passed and the clean labels in the output."""
    for split, arrays in SPLITS.items():
        for kind, array in zip(('images-idx3', 'labels-idx1'), arrays, strict=True):
            (tmp_path / f'{split}-{kind}-ubyte').write_bytes(idx(array))
    config = tmp_path / 'noisy.py'
    config.write_text(f"""
_base_ = [{
        ', '.join(
            repr(str(CONFIGS / '_base_' / name))
            for name in (
                'models/ran-mini.py',
                'datasets/fashion-mnist_32.py',
                'schedules/ran_cifar_160k.py',
                'iter_runtime.py',
            )
        )
    }]
noisy = dict(type='mmlattn.NoisyLabels', level=0.8, seed=1)
train = dict(type='FashionMNIST', data_root={str(tmp_path)!r}, split='train')
train_dataloader = dict(batch_size=3, sampler=dict(type='mmlattn.StreamSampler'), dataset=dict(
    _delete_=True, **noisy, dataset=dict(**train, pipeline=_base_.train_pipeline)))
test_pipeline = [*_base_.test_pipeline[:-1], dict(type='PackInputs', algorithm_keys=('clean_label',))]
val_dataloader = dict(dataset=dict(_delete_=True, **noisy, dataset=dict(**train, pipeline=test_pipeline)))
test_dataloader = val_dataloader
param_scheduler = dict(milestones=[2, 3])
train_cfg = dict(max_iters=4, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
""")
    trained = run_tool('train.py', config, '--work-dir', tmp_path / 'run', cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    rates = [line.split('lr: ')[1].split()[0] for line in trained.stdout.splitlines() if ' lr: ' in line]
    assert list(map(float, rates)) == pytest.approx([0.1, 0.1, 0.01, 0.001])
    out = tmp_path / 'out.pkl'
    tested = run_tool('test.py', config, tmp_path / 'run/iter_4.pth', '--out', out, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    samples = pickle.loads(out.read_bytes())
    clean = SPLITS['train'][1]
    assert [int(sample['clean_label']) for sample in samples] == clean.tolist()
    noisy = flip_labels(clean.astype(int), symmetric_transition(10, 0.8), 1)
    assert [int(sample['gt_label']) for sample in samples] == noisy.tolist() != clean.tolist()

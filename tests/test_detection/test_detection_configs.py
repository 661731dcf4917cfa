"""Every detection config builds, takes a training and a test step, also at sizes that nothing divides."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

CONFIGS = sorted((Path(__file__).parents[2] / 'configs').glob('*.py'))
CONFIGS = [path for path in CONFIGS if 'mmdet::' in path.read_text()]
MINI = next(path for path in CONFIGS if 'attention-mini' in path.name)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def cfg(request):
    return Config.fromfile(request.param)


def batch(*sizes):
    """Random pictures of the given sizes; the first shows two objects, the others none."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    samples = []
    for number, (height, width) in enumerate(sizes):
        boxes = torch.tensor([[4.0, 4, 30, 28], [0, 10, 20, 32]])[: 0 if number else 2]
        instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 79])[: len(boxes)])
        meta = dict(
            img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0), img_id=number
        )
        samples.append(
            DetDataSample(
                metainfo=meta, gt_instances=instances, ignored_instances=InstanceData(bboxes=boxes[:0])
            )
        )
    return dict(
        inputs=[torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in sizes], data_samples=samples
    )


def check_steps(model, *sizes):
    """One training step in which every parameter takes part, and one test step."""
    model.train()
    losses = model(**model.data_preprocessor(batch(*sizes), True), mode='loss')
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad, f'{name} is frozen at its random start'
        assert parameter.grad is not None, f'{name} takes no part in the loss'
        assert parameter.grad.isfinite().all(), name
    model.eval()
    with torch.no_grad():
        results = model.test_step(batch(*sizes))
    assert len(results) == len(sizes)
    for sample, (height, width) in zip(results, sizes, strict=True):
        boxes = sample.pred_instances.bboxes
        assert len(boxes) <= 100 and boxes.isfinite().all()
        assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height] * 2)).all()


def test_one_training_and_one_test_step(cfg):
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert type(model).__module__.startswith('mmdet.')
    assert type(model.backbone).__module__.startswith('mmlattn.')
    check_steps(model, (64, 64), (48, 80))


@pytest.mark.parametrize('size', [(33, 33), (97, 131), (225, 333)])
def test_sizes_that_nothing_divides(size):
    """Unpadded: each level is half the one below, rounded up, and training works on all of them."""
    cfg = Config.fromfile(MINI)
    cfg.model.data_preprocessor.pad_size_divisor = 1
    model = MODELS.build(cfg.model)
    features = model.extract_feat(torch.zeros(1, 3, *size))
    assert [f.shape[-2:] for f in features] == [
        tuple(math.ceil(side / 2**level) for side in size) for level in range(2, 7)
    ]
    check_steps(model, size)


def test_every_type_is_known(cfg):
    from mmdet.registry import DATASETS, HOOKS, METRICS, TRANSFORMS

    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert DATASETS.get(cfg[name].dataset.type).__module__.startswith('mmdet.')
        for transform in cfg[name].dataset.pipeline:
            assert TRANSFORMS.get(transform.type), transform.type
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert METRICS.get(evaluator.type).__module__.startswith('mmdet.')
    for hook in cfg.default_hooks.values():
        assert HOOKS.get(hook.type), hook.type


def test_dumped_config_needs_nothing_else(cfg, tmp_path):
    path = tmp_path / 'dumped.py'
    cfg.dump(str(path))
    assert Config.fromfile(path).to_dict() == cfg.to_dict()


def test_weights_of_a_classifier_start_a_detector(tmp_path):
    """The options that the COCO config names, with a narrow network."""
    from mmlattn.models import ResidualAttentionNet

    cfg = Config.fromfile(MINI)
    trained = ResidualAttentionNet(arch=cfg.model.backbone.arch)
    trained.init_weights()
    weights = tmp_path / 'classifier.pth'
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in trained.state_dict().items()}}, weights)
    cfg.merge_from_dict(
        {
            'model.backbone.init_cfg.type': 'Pretrained',
            'model.backbone.init_cfg.checkpoint': str(weights),
            'model.backbone.init_cfg.prefix': 'backbone.',
            'model.backbone.frozen_stages': 1,
        }
    )
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    own = model.backbone.state_dict()
    assert all(torch.equal(own[name], value) for name, value in trained.state_dict().items())
    frozen = {n.split('.')[0] for n, p in model.backbone.named_parameters() if not p.requires_grad}
    assert frozen == {'stem', 'stage1'}

"""A whole file of the CSRA authors, as a user has it, by every road: the scores are those of the network it is of."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner, load_checkpoint
from mmpretrain.apis import get_model
from reference.csra_official import official_resnet, official_vit
from torchvision.models import resnet18

from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.models.csra.official_files import from_mmlattn, model_config, read_plan, to_mmlattn
from mmlattn.utils.errors import UserError

LAM, CLASSES = 0.4, 5
VIT = dict(embed_dims=128, num_layers=2, num_heads=2, feedforward_channels=512)
# What a config of ours says for each network, and the network of its file.
BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18), 512, 2, lambda: official_resnet(18, CLASSES, 2)),
    'ViT': (
        dict(type='VisionTransformer', arch=VIT, img_size=64, patch_size=16, out_type='featmap'),
        128, 4, lambda: official_vit(CLASSES, 4),
    ),
}  # fmt: skip
# How people save them.
SHAPES = {
    'plain': lambda state: state,
    'DataParallel': lambda state: {f'module.{k}': v for k, v in state.items()},
    'in a checkpoint': lambda state: dict(state_dict={f'module.{k}': v for k, v in state.items()}, epoch=20),
}


def make_cfg(name):
    backbone, channels, heads, _ = BACKBONES[name]
    head = dict(type='mmlattn.CSRAHead', num_classes=CLASSES, in_channels=channels, num_heads=heads, lam=LAM)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64)),
        dict(type='PackInputs'),
    ]
    return Config(
        dict(
            model=dict(type='ImageClassifier', backbone=backbone, head=head),
            data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], to_rgb=True),
            test_dataloader=dict(dataset=dict(type='CustomDataset', pipeline=pipeline)),
            default_scope='mmpretrain',
        )
    )


@pytest.fixture(scope='module', params=BACKBONES)
def released(request):
    """Name, network, its weights by official names, pictures, and the scores they must get."""
    torch.manual_seed(0)
    net, x = BACKBONES[request.param][-1](), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        return request.param, net.state_dict(), x, net(x, LAM)


@torch.no_grad()
def check(model, x, expected):
    torch.testing.assert_close(model.eval()(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('shape', SHAPES)
def test_by_load_from(released, shape, tmp_path):
    """Of a config, as ``tools/train.py`` and ``test.py`` build it."""
    name, state, x, expected = released
    torch.save(SHAPES[shape](state), tmp_path / 'file.pth')
    runner = Runner(
        model=make_cfg(name).model,
        work_dir=str(tmp_path),
        load_from=str(tmp_path / 'file.pth'),
        default_scope='mmpretrain',
        experiment_name=f'{name} {shape}',
    )
    runner.load_or_resume()
    check(runner.model, x, expected)


@pytest.mark.parametrize('shape', SHAPES)
def test_by_load_model(released, shape, tmp_path):
    name, state, x, expected = released
    torch.save(SHAPES[shape](state), tmp_path / 'file.pth')
    check(load_model(make_cfg(name), str(tmp_path / 'file.pth')), x, expected)


def test_by_the_inferencer(released, tmp_path):
    name, state, x, expected = released
    torch.save(state, tmp_path / 'file.pth')
    inferencer = MultiLabelInferencer(make_cfg(name), str(tmp_path / 'file.pth'), device='cpu')
    check(inferencer.model, x, expected)
    picture = np.full((64, 64, 3), 100, np.uint8)
    with torch.no_grad():
        scores = inferencer.model(torch.full((1, 3, 64, 64), 100 / 255))[0].sigmoid()
    np.testing.assert_allclose(inferencer(picture)[0]['pred_scores'], scores.numpy(), rtol=1e-4)


def test_by_torch_itself_and_by_copies(released):
    """The reader goes with a copy, with EMA's average and with a pickled model."""
    name, state, x, expected = released
    model = get_model(make_cfg(name), device='cpu')
    ema = ExponentialMovingAverage(model)
    for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), ema.module):
        other.load_state_dict({f'module.{k}': v for k, v in state.items()})
        check(other, x, expected)


def test_there_and_back(released):
    name, state, _, _ = released
    model = get_model(make_cfg(name), device='cpu')
    model.load_state_dict(state)
    back = from_mmlattn(model.state_dict())
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())


def test_older_resnet_files(tmp_path):
    """Layout L1: ``backbone.`` before torchvision's names, with their unused classifier, and ``classifier.fc1``."""
    torch.manual_seed(0)
    net, x = official_resnet(18, CLASSES, 2), torch.rand(1, 3, 64, 64)
    state = {}
    for key, value in net.state_dict().items():
        head = key.removeprefix('classifier.multi_head.').partition('.')[0]
        old = f'classifier.fc{int(head) + 1}.weight' if 'multi_head' in key else f'backbone.{key}'
        state[old] = value
    state |= {'backbone.fc.weight': torch.zeros(1000, 512), 'backbone.fc.bias': torch.zeros(1000)}
    torch.save(state, tmp_path / 'old.pth')
    check(load_model(make_cfg('ResNet'), str(tmp_path / 'old.pth')), x, net(x, LAM))


def test_older_vit_files(tmp_path):
    """Layout L2: heads by number, with biases, and ImageNet's classifier left over."""
    torch.manual_seed(0)
    net, x = official_vit(CLASSES, 4), torch.rand(1, 3, 64, 64)
    state = {k: v for k, v in net.state_dict().items() if 'classifier' not in k}
    state |= {'head.weight': torch.zeros(1000, 128), 'head.bias': torch.zeros(1000)}
    for i, head in enumerate(net.classifier.multi_head, start=1):
        state |= {f'head{i}.weight': head.head.weight.flatten(1), f'head{i}.bias': torch.zeros(CLASSES)}
    torch.save(state, tmp_path / 'old.pth')
    cfg = make_cfg('ViT')
    cfg.model.head.bias = True
    check(load_model(cfg, str(tmp_path / 'old.pth')), x, net(x, LAM))


def test_positions_of_another_picture_size():
    """Mmpretrain resizes a ViT's position embedding, as timm does; the class token keeps its own."""
    torch.manual_seed(0)
    net = official_vit(CLASSES, 4)
    cfg = make_cfg('ViT')
    cfg.model.backbone.img_size = 96
    model = get_model(cfg, device='cpu')
    model.load_state_dict(net.state_dict())
    grid = net.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    larger = torch.nn.functional.interpolate(grid, (6, 6), mode='bicubic', align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.pos_embed[:, :1], net.pos_embed[:, :1])
        torch.testing.assert_close(model.backbone.pos_embed[:, 1:], larger.flatten(2).transpose(1, 2))


def test_the_imagenet_weights_they_start_from(tmp_path):
    """Such as CutMix_ResNet101.pth by load_from: all of the backbone, nothing of the head."""
    net = resnet18()
    torch.save(net.state_dict(), tmp_path / 'imagenet.pth')
    model = get_model(make_cfg('ResNet'), device='cpu')
    before = model.head.weight.clone()
    load_checkpoint(model, str(tmp_path / 'imagenet.pth'))
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in model.backbone.state_dict().items())
    assert torch.equal(model.head.weight, before)


def test_masks_around_the_backbone_keep_their_start():
    """ResidualAttentionWrapper takes a plain backbone's weights, also out of these files."""
    cfg = make_cfg('ResNet')
    inner = dict(type='mmpretrain.ResNet', depth=18)
    cfg.model.backbone = dict(type='mmlattn.ResidualAttentionWrapper', backbone=inner, stages=['layer3'])
    model, net = get_model(cfg, device='cpu'), official_resnet(18, CLASSES, 2)
    missing, extra = model.load_state_dict(net.state_dict(), strict=False)
    assert not extra and missing and all('.mask.' in key for key in missing)
    ours = model.state_dict()['backbone.backbone.layer3.1.conv1.weight']
    assert torch.equal(ours, net.layer3[1].conv1.weight)


def test_fine_tuning_takes_the_backbone_alone(released):
    name, state, _, _ = released
    cfg = make_cfg(name)
    cfg.model.head.num_classes = CLASSES + 2
    model = get_model(cfg, device='cpu')
    before = model.head.weight.clone()
    missing, _ = model.load_state_dict(state, strict=False)
    assert missing == ['head.weight'] and torch.equal(model.head.weight, before)
    theirs = to_mmlattn(state)
    assert all(torch.equal(v, theirs[f'backbone.{k}']) for k, v in model.backbone.state_dict().items())


def test_another_network_is_refused_in_one_line(tmp_path):
    torch.save(official_resnet(18, CLASSES, 4).state_dict(), tmp_path / 'file.pth')
    with pytest.raises(UserError, match='holds the weights of another model than the config: missing are'):
        load_model(make_cfg('ViT'), str(tmp_path / 'file.pth'))
    with pytest.raises(UserError, match='holds 4 CSRA classifiers'):
        load_model(make_cfg('ResNet'), str(tmp_path / 'file.pth'))


@pytest.mark.slow
def test_the_published_resnet(repo_root, tmp_path):
    """Our config, as it is, with a file in the size of the release."""
    torch.manual_seed(0)
    cfg, net = Config.fromfile(repo_root / 'configs/csra_r101_voc07.py'), official_resnet(101, 20, 1)
    torch.save({f'module.{k}': v for k, v in net.state_dict().items()}, tmp_path / 'file.pth')
    x = torch.rand(1, 3, 96, 96)
    check(load_model(cfg, str(tmp_path / 'file.pth')), x, net(x, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arch', 'sizes'),
    [
        ('b', dict(img_size=224, embed_dim=768, depth=12, num_heads=12)),
        ('l', dict(img_size=448, embed_dim=1024, depth=24, num_heads=16)),
    ],
)
def test_the_published_vits(arch, sizes):
    """Names and shapes: computing in this size takes minutes."""
    with torch.device('meta'):
        theirs = to_mmlattn(official_vit(14, 8, **sizes).state_dict())
    plan = read_plan(theirs)
    assert plan.backbone['arch'] == arch and plan.backbone['img_size'] == sizes['img_size']
    model = get_model(Config(dict(model=model_config(plan, 1.0))), device='meta')
    heads = {f'head.multi_head.{i}.head.weight': (14, sizes['embed_dim'], 1, 1) for i in range(8)}
    ours = {k: tuple(v.shape) for k, v in model.state_dict().items() if k.startswith('backbone.')}
    assert {k: tuple(v.shape) for k, v in theirs.items()} == ours | heads

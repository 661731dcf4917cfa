"""The converter of the CSRA authors' files, as a command."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from reference.csra_official import official_resnet, official_vit
from tiny_run import MarkWhenOpened, run_tool

TOOL = 'model_converters/convert_csra.py'


@pytest.fixture(autouse=True, scope='module')
def _one_thread():
    """As ``run_tool`` wants."""
    torch.set_num_threads(1)


def convert(*args, cwd):
    return run_tool(TOOL, *args, cwd=cwd)


def build(model):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(model).eval()


@torch.no_grad()
@pytest.mark.parametrize('kind', ['resnet', 'vit'])
def test_what_is_written_and_printed_is_the_network(kind, tmp_path):
    torch.manual_seed(0)
    net = official_resnet(18, 5, 2) if kind == 'resnet' else official_vit(5, 4)
    state, x = net.state_dict(), torch.rand(2, 3, 64, 64)
    torch.save({f'module.{k}': v for k, v in state.items()}, tmp_path / 'their file.pth')
    done = convert('their file.pth', 'new/ours.pth', '--lam', 0.4, '--verify', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '# verified' in done.stdout
    checkpoint = tmp_path / 'new/ours.pth'
    meta = torch.load(checkpoint, weights_only=True)['meta']
    for model in (meta['model'], Config.fromstring(done.stdout, '.py').model):
        model = build(model)
        load_checkpoint(model, str(checkpoint), strict=True)
        torch.testing.assert_close(model(x), net(x, 0.4), rtol=1e-5, atol=1e-5)
    model.head.lam = 0.5
    with pytest.raises(ValueError, match=r'trained with lam=0\.4'):
        load_checkpoint(model, str(checkpoint))
    assert [path.name for path in checkpoint.parent.iterdir()] == ['ours.pth']

    back = convert(checkpoint, 'theirs.pth', '--reverse', cwd=tmp_path)
    assert back.returncode == 0 and 'lam=0.4' in back.stdout, back.stderr
    theirs = torch.load(tmp_path / 'theirs.pth', weights_only=True)
    assert theirs.keys() == state.keys() and all(torch.equal(theirs[k], v) for k, v in state.items())


def test_without_lam_the_config_decides(tmp_path):
    torch.save(official_vit(5, 1).state_dict(), tmp_path / 'theirs.pth')
    done = convert('theirs.pth', 'ours.pth', cwd=tmp_path)
    assert done.returncode == 0 and 'lam is not in theirs.pth' in done.stdout
    model = dict(Config.fromstring(done.stdout, '.py').model)
    model['head']['lam'] = 0.7
    load_checkpoint(build(model), str(tmp_path / 'ours.pth'), strict=True)


def test_verify_finds_other_scores(tmp_path):
    """A layer that torchvision computes otherwise: a negative variance gives scores that are no numbers."""
    state = official_resnet(18, 5, 1).state_dict()
    state['bn1.running_var'].fill_(-1)
    torch.save(state, tmp_path / 'theirs.pth')
    done = convert('theirs.pth', 'ours.pth', '--verify', cwd=tmp_path)
    assert done.returncode == 1 and 'nothing is written' in done.stderr
    assert not (tmp_path / 'ours.pth').exists()


VIT = official_vit(5, 1).state_dict()
WRONG = {
    'list': ([1, 2], 'holds no state dict (but list)'),
    'other': ({'a.weight': torch.zeros(1)}, 'this is no classifier of the CSRA authors: it has a.weight'),
    'imagenet': (
        {'conv1.weight': torch.zeros(1), 'fc.weight': torch.zeros(1)},
        'this is no classifier of the CSRA authors: it has no CSRA heads',
    ),
    'more': (VIT | {'ema.weight': torch.zeros(1)}, 'it has ema.weight'),
    'surplus': (VIT | {'blocks.0.gamma': torch.zeros(1)}, 'without a place are backbone.blocks.0.gamma'),
    'part': ({k: v for k, v in VIT.items() if 'blocks.1.attn' not in k}, 'missing are backbone.layers.1.attn'),
    'no patches': (
        {k: v for k, v in VIT.items() if 'patch_embed' not in k},
        "('backbone.patch_embed.projection.weight'). Likely a part of a file",
    ),
    'scalar': (VIT | {'classifier.multi_head.0.head.weight': torch.zeros(())}, 'a head has the shape ()'),
    'three heads': (official_vit(5, 1).state_dict() | {
        f'classifier.multi_head.{i}.head.weight': torch.zeros(5, 128, 1, 1) for i in (1, 2)
    }, 'the file has 3 heads; the paper has [1, 2, 4, 6, 8]'),
    'oblong': (VIT | {'pos_embed': torch.zeros(1, 16, 128)}, 'no ViT of theirs has 15 patches'),
    'depth': (
        {'conv1.weight': torch.zeros(1), 'classifier.multi_head.0.head.weight': torch.zeros(5, 8, 1, 1)},
        'no ResNet has (0, 0, 0, 0) units',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', WRONG)
def test_other_files_are_named(name, tmp_path):
    content, message = WRONG[name]
    torch.save(content, tmp_path / 'theirs.pth')
    done = convert('theirs.pth', 'ours.pth', '--verify', cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr and 'Traceback' not in done.stderr, done.stderr
    assert not (tmp_path / 'ours.pth').exists()


def test_nothing_is_overwritten_and_no_code_is_run(tmp_path):
    marker = tmp_path / 'marker'
    torch.save({'conv1.weight': MarkWhenOpened(marker)}, tmp_path / 'evil.pth')
    done = convert('evil.pth', 'ours.pth', cwd=tmp_path)
    assert done.returncode == 1 and 'evil.pth asks for io.open' in done.stderr and not marker.exists()
    (tmp_path / 'mine.pth').symlink_to('not there yet.pth')
    done = convert('evil.pth', 'mine.pth', cwd=tmp_path)
    assert done.returncode == 1 and 'mine.pth exists and is not overwritten' in done.stderr


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(normalize=False), 'normalize=False; the official code always normalises'),
        (dict(bias=True), 'the official files have no name for head.bias'),
    ],
)
def test_what_official_code_cannot_compute_is_not_written(change, message, tmp_path):
    head = dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=512, num_heads=1) | change
    model = build(dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18), head=head))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ours.pth')
    done = convert('ours.pth', 'theirs.pth', '--reverse', cwd=tmp_path)
    assert done.returncode == 1 and message in done.stderr
    assert not (tmp_path / 'theirs.pth').exists()

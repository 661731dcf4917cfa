"""deletion.py: a model of which all is known, states made by loops, Grad-CAM by hand, the file, and refusals."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from PIL import Image
from tiny_run import run_tool
from torch.nn import functional as F

from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.apis.deletion import DeletionTest, Pair, summary_of
from mmlattn.apis.grad_cam import GradCAMMaps
from mmlattn.apis.pictures import dataset_items
from mmlattn.utils.errors import UserError

TOOL = 'analysis_tools/deletion.py'
ATTENTION = dict(type='attention', _delete_=True)
COLOURS = ('red', 'green', 'blue')
#: Of each picture the cells of 4 x 4 in which the colours are.
SQUARES = [dict(red=0, green=15), dict(blue=6), dict(red=9, green=2, blue=12)]
CONFIG = """
default_scope = 'mmpretrain'
data_preprocessor = dict(num_classes=3, mean=[0] * 3, std=[255] * 3, to_rgb=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='MeanColours'),
    head=dict(type='mmlattn.LinearMultiLabelHead', num_classes=3, in_channels=3, pool='max'))
test_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    type='mmlattn.PlainMultiLabel', data_root={root!r}, ann_file='test.json', test_mode=True, pipeline=[
        dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
"""


@MODELS.register_module(force=True)
class MeanColours(BaseModule):
    """The mean colour of each of 4 x 4 parts of a picture of 64 x 64 pixels."""

    def forward(self, x):
        return (F.avg_pool2d(x, 16),)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Black pictures with squares of pure colours, and a model of which a class is the most of a colour in a cell."""
    folder = tmp_path_factory.mktemp('colours')
    items = []
    for number, squares in enumerate(SQUARES):
        picture = np.zeros((64, 64, 3), np.uint8)
        for colour, cell in squares.items():
            y, x = 16 * (cell // 4), 16 * (cell % 4)
            picture[y : y + 16, x : x + 16, COLOURS.index(colour)] = 255
        Image.fromarray(picture).save(folder / f'{number}.png')
        items.append(dict(img_path=f'{number}.png', gt_label=[COLOURS.index(colour) for colour in squares]))
    (folder / 'test.json').write_text(json.dumps(dict(metainfo=dict(classes=list(COLOURS)), data_list=items)))
    config = folder / 'colours.py'
    config.write_text(CONFIG.format(root=str(folder)))
    cfg = Config.fromfile(config)
    model = load_model(cfg, False)
    with torch.no_grad():
        model.head.fc.weight.copy_(8 * torch.eye(3))
        model.head.fc.bias.fill_(-4)
    meta = dict(dataset_meta=dict(classes=COLOURS))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'colours.pth')
    inferencer = MultiLabelInferencer(cfg, str(folder / 'colours.pth'))
    return SimpleNamespace(
        folder=folder, config=config, cfg=cfg, checkpoint=folder / 'colours.pth', inferencer=inferencer
    )


def measure(world, **settings):
    test = DeletionTest(world.inferencer, grid=4, steps=16, insertion_fill='zero', **settings)
    return test, test.run(dataset_items(world.cfg))


def test_what_is_known_comes_out(world):
    """Without its square a class has the least score from the first step on, with it alone the highest."""
    pytest.importorskip('pytorch_grad_cam')
    test, pairs = measure(world)
    assert [(pair.picture, pair.label) for pair in pairs] == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    high, low = torch.tensor([4.0, -4.0]).sigmoid().tolist()
    for pair in pairs:
        for order in ('evidence', 'gradcam'):
            falling, rising = pair.curves[order]
            np.testing.assert_allclose(falling, [high] + [low] * 16, rtol=1e-5)
            np.testing.assert_allclose(rising, [low] + [high] * 16, rtol=1e-5)
        # The centre first: the distance of a square says when it goes.
        cell = SQUARES[pair.picture][COLOURS[pair.label]]
        gone = int((pair.curves['centre'][0] > 0.5).sum())
        assert (
            (gone <= 4)
            if cell in (5, 6, 9, 10)
            else (gone > 12)
            if cell in (0, 3, 12, 15)
            else 4 < gone <= 12
        )
    # With n pairs: 3 ends, 2 x 15 states for each order, one look at the evidence and one by Grad-CAM.
    assert test.passes == sum(3 + 30 * (2 + 2 * len(squares)) + 2 for squares in SQUARES)
    summary = summary_of(pairs, test.shares)
    ideal = (high + low) / 2 / 16 + low * 15 / 16
    assert summary['deletion']['evidence']['area'] == pytest.approx(ideal, rel=1e-5)
    assert summary['insertion']['evidence']['area'] == pytest.approx(high + low - ideal, rel=1e-5)
    for measured, better in (('deletion', 0), ('insertion', 1)):
        found = summary[measured]['random']
        assert (found['difference'] > 0) == better and found['difference'] != 0
        assert found['difference_low'] <= found['difference'] <= found['difference_high']
        assert summary[measured]['gradcam']['difference'] == pytest.approx(0, abs=1e-7)
        assert summary[measured]['gradcam']['better'] == 0.5, 'orders that begin alike are a tie'


@pytest.mark.parametrize(('batch_size', 'amp'), [(1, False), (7, False), (64, True)])
def test_states_are_those_of_loops(world, batch_size, amp):
    """Cell by cell and state by state, in batches that do and that do not fit."""
    test = DeletionTest(
        world.inferencer,
        orders=['random'],
        grid=4,
        steps=5,
        fill='mean',
        insertion_fill='zero',
        batch_size=batch_size,
        amp=amp,
    )
    picture = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean = picture.mean(dim=(1, 2), keepdim=True).expand_as(picture)
    orders = [np.random.default_rng(seed).permutation(16) for seed in range(3)]
    found = test.walk(picture, orders)
    assert found.shape == (3, 2, 6, 3) and test.passes == 3 + 2 * 3 * 4
    for number, order in enumerate(orders):
        for row, (start, end) in enumerate(((picture, mean), (torch.zeros_like(picture), picture))):
            for step, count in enumerate((0, 3, 6, 10, 13, 16)):
                state = start.clone()
                for cell in order[:count]:
                    part = (
                        ...,
                        slice(16 * (cell // 4), 16 * (cell // 4 + 1)),
                        slice(16 * (cell % 4), 16 * (cell % 4 + 1)),
                    )
                    state[part] = end[part]
                best = F.avg_pool2d(state, 16).amax(dim=(1, 2))
                np.testing.assert_allclose(
                    found[number, row, step], (8 * best - 4).sigmoid(), rtol=0.05 if amp else 1e-5
                )


def test_one_step_is_the_two_ends(world):
    test = DeletionTest(world.inferencer, orders=[], grid=4, steps=1, insertion_fill='zero')
    pairs = test.run(dataset_items(world.cfg))
    high, low = torch.tensor([4.0, -4.0]).sigmoid().tolist()
    assert len(pairs) == 6 and test.passes == 3 * 3 + 3
    for pair in pairs:
        np.testing.assert_allclose(pair.curves['evidence'], [[high, low], [low, high]], rtol=1e-5)


def test_what_is_random_is_so_by_the_seed(world):
    areas = []
    for seed in (3, 3, 4):
        _, pairs = measure(world, orders=['random'], seed=seed)
        areas.append([pair.curves['random'].sum() for pair in pairs])
    assert areas[0] == areas[1] != areas[2]


def test_grad_cam_is_that_of_the_formula(world):
    """alpha_k: the mean gradient of channel k; the map: what is positive of sum_k alpha_k A_k, from 0 to 1."""
    pytest.importorskip('pytorch_grad_cam')
    generator = torch.Generator().manual_seed(0)
    model = load_model(world.cfg, str(world.checkpoint))
    with torch.no_grad():
        model.head.fc.weight.copy_(torch.tensor([[3.0, -1, 2], [1, 1, 1], [-1, 4, 2]]))
        model.head.pool = 'avg'
    inputs = torch.rand(1, 3, 64, 64, generator=generator)
    found = GradCAMMaps(model)(inputs, [2, 0])
    for row, label in zip(found, (2, 0), strict=True):
        features = model.backbone(inputs)[0].requires_grad_()
        model.head((features,))[0, label].backward()
        expected = (features.grad.mean(dim=(2, 3), keepdim=True) * features)[0].sum(dim=0).relu()
        expected -= expected.min()
        np.testing.assert_allclose(row, (expected / expected.max()).detach(), atol=1e-5)
    assert found.max() == pytest.approx(1)


def test_summary_of_two_pairs():
    """Areas by hand; pairs of one picture are drawn together, so there is nothing to be drawn here."""
    shares = np.array([0, 0.5, 1])
    curves = [
        dict(evidence=np.array([[1, 0, 0], [0, 1, 1.0]]), random=np.array([[1, 1, 0], [0, 0, 1.0]])),
        dict(
            evidence=np.array([[0.8, 0.2, 0], [0, 0.4, 0.8]]), random=np.array([[0.8, 0.2, 0], [0, 0.6, 0.8]])
        ),
    ]
    found = summary_of([Pair(0, 'a', label, curve) for label, curve in enumerate(curves)], shares)
    deletion, insertion = found['deletion'], found['insertion']
    assert deletion['evidence']['area'] == pytest.approx((0.25 + 0.3) / 2)
    assert deletion['random']['difference'] == pytest.approx(-0.25) == deletion['random']['difference_low']
    assert insertion['random']['difference'] == pytest.approx((0.5 - 0.1) / 2)
    assert deletion['random']['better'] == 0.75 and insertion['random']['better'] == 0.5


def test_the_tool_writes_what_it_prints(world):
    out = world.folder / 'new' / 'deletion.json'
    flags = [
        '--grid',
        4,
        '--steps',
        16,
        '--insertion-fill',
        'zero',
        '--orders',
        'random',
        'centre',
        '--pictures',
        2,
    ]
    done = run_tool(TOOL, world.config, world.checkpoint, '--out', out, *flags, cwd=world.folder)
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    assert content['schema'] == 'mmlattn.deletion/1' and content['pictures'] == 2
    # Evenly spread: the first and the last.
    found = [(pair['picture'].rpartition('/')[2], pair['label']) for pair in content['pairs']]
    assert found == [
        ('0.png', 'red'),
        ('0.png', 'green'),
        ('2.png', 'red'),
        ('2.png', 'green'),
        ('2.png', 'blue'),
    ]
    area = content['summary']['deletion']['evidence']['area']
    assert area == pytest.approx(np.mean([pair['areas']['evidence'][0] for pair in content['pairs']]))
    assert len(content['shares']) == len(content['curves']['centre'][1]) == 17
    assert f'{area:.4f}' in done.stdout
    assert '5 pairs of one of 2 pictures and a class that is present' in done.stdout
    assert f'{content["passes"]} pictures went through the network' in done.stdout
    done = run_tool(TOOL, world.config, world.checkpoint, '--out', out, cwd=world.folder)
    assert done.returncode == 2 and 'deletion.json exists already' in done.stderr
    done = run_tool(TOOL, world.config, world.checkpoint, '--out', out / 'a.json', cwd=world.folder)
    assert done.returncode == 1 and 'deletion.json is a file' in done.stderr
    assert json.loads(out.read_text()) == content


def test_pictures_are_those_that_there_are(world):
    test = DeletionTest(world.inferencer, orders=[], grid=4, steps=1)
    test.run(dataset_items(world.cfg, limit=200), 200)
    assert test.pictures == 3


def test_refusals(world, monkeypatch):
    inferencer = world.inferencer
    with pytest.raises(UserError, match='steps=20 of 16 cells'):
        DeletionTest(inferencer, orders=[], grid=4, steps=20)
    for name in ('orders', 'labels', 'fill', 'insertion_fill', 'evidence'):
        with pytest.raises(UserError, match=f"{name} must be one of .* got 'nonsense'"):
            DeletionTest(
                inferencer, **({name: 'nonsense'} | dict(orders=['nonsense'] if name == 'orders' else []))
            )
    with pytest.raises(UserError, match='the data samples carry no regions but attention_maps'):
        measure(world, orders=[], evidence='regions')
    items = list(dataset_items(world.cfg))
    for item in items:
        item['data_samples'].pop('gt_label')
    with pytest.raises(UserError, match='--labels predicted'):
        DeletionTest(inferencer, orders=[], grid=4).measure(0, items[0])
    found = DeletionTest(inferencer, orders=[], grid=4, labels='predicted').run(items)
    assert [(pair.picture, pair.label) for pair in found] == [(0, 0), (0, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    monkeypatch.setitem(sys.modules, 'pytorch_grad_cam', None)
    with pytest.raises(UserError, match=r'pip install --no-deps -r requirements/grad-cam\.txt'):
        DeletionTest(inferencer)


def test_grad_cam_needs_a_map_and_a_gradient(world):
    pytest.importorskip('pytorch_grad_cam')
    with pytest.raises(UserError, match='is not made of a backbone and a head'):
        GradCAMMaps(torch.nn.Sequential())
    model = load_model(world.cfg, str(world.checkpoint))
    inputs = torch.rand(1, 3, 64, 64)
    model.backbone.forward = lambda x: (x.mean(dim=(2, 3)),)
    with pytest.raises(UserError, match=r'the backbone gives \(1, 3\)'):
        GradCAMMaps(model)(inputs, [0])
    del model.backbone.forward
    model.head.forward = lambda feats: feats[0].detach().mean(dim=(2, 3))
    with pytest.raises(UserError, match='scores of LinearMultiLabelHead have no gradient'):
        GradCAMMaps(model)(inputs, [0])


def test_what_a_decoder_did_not_emit_is_left_out(world, monkeypatch):
    """A class that is present and whose map is all zero has no evidence; without any other nothing is measured."""
    forward, unseen = world.inferencer.forward, [1]

    def emits_less(batch, **options):
        samples = forward(batch, **options)
        samples[0].attention_maps[unseen] = 0
        return samples

    monkeypatch.setattr(world.inferencer, 'forward', emits_less)
    test, pairs = measure(world, orders=[])
    assert [(pair.picture, pair.label) for pair in pairs] == [(0, 0), (1, 2), (2, 0), (2, 2)]
    assert test.without_evidence == 2
    unseen += [0, 2]
    with pytest.raises(UserError, match='present and was seen somewhere, 6 of them without evidence'):
        measure(world, orders=[])


@pytest.mark.parametrize(
    ('config', 'changes'),
    [
        ('st-lstm_resnet-mini_multidigits', {}),
        ('racnn_resnet-mini_cluttered-digits', dict(model=dict(with_evidence=True))),
        (
            'cnn-rnn_resnet-mini_digit-sets',
            dict(
                model=dict(
                    neck=None, head=dict(decoder=ATTENTION, test_cfg=dict(min_len=2, max_len=2, beam=1))
                )
            ),
        ),
    ],
)
def test_evidence_of_every_kind(repo_root, config, changes):
    """Regions, looks that zoom in, and maps of a label path: cells that lie in what was seen are taken first."""
    cfg = Config.fromfile(repo_root / 'configs' / f'{config}.py')
    cfg.merge_from_dict(changes)
    inferencer = MultiLabelInferencer(cfg, pretrained=False)
    test = DeletionTest(inferencer, orders=['random'], labels='predicted', steps=3, grid=8)
    inputs = torch.randint(256, (3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    item = dict(inputs=inputs, data_samples=DataSample())
    [sample] = inferencer.forward(dict(inputs=[inputs], data_samples=[DataSample()]), with_evidence=True)
    pairs = test.measure(0, item)
    assert sorted(pair.label for pair in pairs) == sorted(sample.pred_label.tolist()) and pairs
    for pair in pairs:
        start, end = pair.curves['evidence'][0, 0], pair.curves['evidence'][1, -1]
        assert start == end == pytest.approx(sample.pred_score[pair.label].item(), rel=1e-4)
        assert pair.curves['random'].shape == (2, 4)
        values = test._relevance(sample, pair.label)
        cell = np.unravel_index(values.argmax(), values.shape)
        if 'regions' in sample:
            best = sample.regions[
                -1 if 'region_names' in sample else sample.region_scores[:, pair.label].argmax()
            ]
            left, top, right, bottom = (8 * best).tolist()
            assert left < cell[1] + 1 and cell[1] < right and top < cell[0] + 1 and cell[0] < bottom
        else:
            assert values.sum() > 0

"""A map of pictures: from every kind of model, of one label and of several, and alike pictures lie together."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import CONFIG, run_tool

from mmlattn.apis.embedding import Features, collect_features, map_of, picture_features, shown_classes
from mmlattn.apis.loading import load_model
from mmlattn.registry import MODELS
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import load_config

SETS = """
_base_ = {base!r}
model = dict(neck=None, train_cfg=None, head=dict(
    _delete_=True, type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1))
test_dataloader = dict(dataset=dict(_delete_=True, type='mmpretrain.MultiLabelDataset', ann_file='a.json',
    data_root={root!r}, pipeline=[dict(type='LoadImageFromFile'), dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs')]))
"""


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Dark and bright pictures, some of them with a second label, and a network with random weights."""
    folder = tmp_path_factory.mktemp('tsne')
    rng, items = np.random.default_rng(0), []
    for number in range(24):
        picture = rng.integers(0, 40, (40, 40, 3), np.uint8) + 200 * (number % 2)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f'{number}.png')
        items.append(dict(img_path=f'{number}.png', gt_label=[number % 2] + [2] * (number < 5)))
    annotations = dict(metainfo=dict(classes=['dark', 'bright', 'first']), data_list=items)
    (folder / 'a.json').write_text(json.dumps(annotations))
    (folder / 'base.py').write_text(CONFIG.replace('{data!r}', repr(str(folder))))
    (folder / 'sets.py').write_text(SETS.format(base=str(folder / 'base.py'), root=str(folder)))
    state = load_model(load_config(str(folder / 'sets.py')), False).state_dict()
    torch.save(dict(state_dict=state), folder / 'a.pth')
    return folder


def test_alike_pictures_lie_together(world, tmp_path):
    args = ['sets.py', 'a.pth', '--out', tmp_path / 'map.png', '--perplexity', '5']
    done = run_tool('visualization/show_tsne.py', *args, cwd=world)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / 'map.png').size > (300, 300)
    with (tmp_path / 'map.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['labels'] for row in rows[:3]] == ['dark;first', 'bright;first', 'dark;first']
    places = np.array([(float(row['x']), float(row['y'])) for row in rows])
    bright = np.array(['bright' in row['labels'] for row in rows])
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(len(places))
    assert (bright[distances.argmin(axis=1)] == bright).all()
    done = run_tool('visualization/show_tsne.py', *args, cwd=world)
    assert done.returncode == 1 and 'map.png exists and is not overwritten' in done.stderr


@pytest.mark.parametrize(('labels', 'onehot'), [([], True), ([0], True), ([], False), ([0, 2], False)])
def test_classes_without_names_go_by_number(world, tmp_path, labels, onehot):
    """All that there are scores of, or as many as there are labels; without any label there is none to draw."""
    items = [dict(img_path=str(world / f'{number}.png'), gt_label=labels) for number in range(12)]
    (tmp_path / 'a.json').write_text(json.dumps(dict(metainfo={}, data_list=items)))
    cfg = load_config(str(world / 'sets.py'))
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    model = load_model(cfg, False).eval()
    model.data_preprocessor.to_onehot = onehot
    found = collect_features(model, cfg, 'test', 5, 2)
    count = 3 if onehot or labels else 1
    assert found.values.shape == (5, 32) and found.labels.shape == (5, count)
    assert found.classes == ('0', '1', '2')[:count] and shown_classes(found, None, 9) == labels
    assert [path[len(str(world)) + 1 :] for path in found.paths] == [f'{n}.png' for n in (0, 3, 6, 8, 11)]


def test_what_the_last_layer_reads():
    backbone = dict(type='mmpretrain.ResNet', depth=18, stem_channels=4, base_channels=4)
    prepared = dict(type='mmpretrain.ClsDataPreprocessor')
    linear = dict(
        type='mmpretrain.LinearClsHead',
        num_classes=3,
        in_channels=32,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    )
    pool = dict(type='mmpretrain.GlobalAveragePooling')
    neck = dict(type='mmlattn.STLSTM', in_channels=32, region_size=2, embed_dims=8, hidden_dims=8, out_dims=8)
    parts = dict(
        type='mmpretrain.ImageClassifier',
        backbone=backbone,
        data_preprocessor=prepared,
        neck=pool,
        head=linear,
    )
    localizer = dict(type='mmlattn.APN', form='light', in_channels=32, spatial=2)
    zooming = dict(num_scales=2, localizer=localizer, crop=dict(size=64))
    regions = dict(neck=neck, head=dict(type='mmlattn.STLSTMHead', num_classes=3, in_channels=8))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        one = MODELS.build(parts).eval()
        torch.testing.assert_close(one.head.fc(picture_features(one, x)), one(x))
        whole = MODELS.build(parts | dict(neck=None, head=regions['head'] | dict(in_channels=32))).eval()
        torch.testing.assert_close(picture_features(whole, x), whole.backbone(x)[-1].mean(dim=(2, 3)))
        assert picture_features(MODELS.build(parts | regions).eval(), x).shape[0] == 2
        zoomed = MODELS.build(parts | zooming | dict(type='mmlattn.RACNN')).eval()
        assert torch.equal(picture_features(zoomed, x), zoomed.extract_feat(x, stage='pre_logits'))


def test_classes_and_mistakes():
    labels = np.array([[1, 0, -1], [1, 1, 0]])
    found = Features(np.zeros((2, 3)), labels, ['a', 'b'], ('x', 'y', 'z'))
    assert shown_classes(found, None, 9) == [0, 1] and shown_classes(found, None, 1) == [0]
    assert shown_classes(found, ['z', 'x'], 2) == [2, 0]
    for asked, said in ((['v'], 'the model has no v'), (['x', 'y'], 'at most 1 are drawn, got 2')):
        with pytest.raises(UserError, match=said):
            shown_classes(found, asked, 1)
    with pytest.raises(UserError, match='must be above 0 and below the 2 pictures, got 30'):
        map_of(found.values, 30, 0)

"""Features in files: those of the network in the loop, whole after an interruption, read in place."""

import copy
import dataclasses
import errno
import os

import numpy as np
import pytest
import torch
from heads_fixtures import write_config
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.datasets.transforms import RandomFlip
from mmpretrain.registry import MODELS

from mmlattn.comparison import training
from mmlattn.comparison.candidates import Candidate
from mmlattn.comparison.cost import measure_cost
from mmlattn.comparison.data import SplitData, check_labels, prepare, read_splits
from mmlattn.comparison.features import (
    build_extractor,
    picture_identity,
    pipeline_recipe,
    store_views,
    take_view,
)
from mmlattn.comparison.map_files import MapFile, MapWriter
from mmlattn.comparison.training import Budget, train_head
from mmlattn.utils.errors import UserError

CSRA = dict(type='mmlattn.CSRAHead', num_classes=3, in_channels=32, num_heads=1, lam=0.3)


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    """The config of drawn pictures, its frozen network, and its stored features: plain, mirrored, and a crop."""
    folder = tmp_path_factory.mktemp('stored')
    cfg = Config.fromfile(write_config(folder))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        extractor = build_extractor(cfg)
        yield cfg, extractor, prepare(cfg, extractor, folder / 'features', crops=1, batch_size=8, workers=0)


def test_maps_are_those_of_the_network_in_the_loop(stored):
    cfg, extractor, data = stored
    source, maps = read_splits(cfg)['train'], data['train'].dataset.maps
    flip = RandomFlip(prob=1.0, direction='horizontal')
    for number in (0, 9, 23):
        picture = source[number]['inputs']
        mirrored = flip(dict(img=picture.permute(1, 2, 0).numpy(), img_shape=(64, 64)))['img']
        shown = torch.stack([picture, torch.from_numpy(mirrored.copy()).permute(2, 0, 1)])
        for view, expected in enumerate(extractor(shown).numpy()):
            # float16 has 11 bits.
            np.testing.assert_allclose(maps[view][number], expected, rtol=2**-10, atol=1e-4)
        assert not np.allclose(maps[2][number], maps[0][number], atol=0.05), 'a crop is another picture'


def test_files_are_read_in_place_and_batches_come_whole(stored):
    _, _, data = stored
    dataset = data['train'].dataset
    assert all(isinstance(maps, np.memmap) and maps.dtype == np.float16 for maps in dataset.maps)
    torch.manual_seed(0)
    batch = dataset.__getitems__([3, 5, 3, 3, 3, 3, 3, 3])
    assert [sample.sample_idx for sample in batch['data_samples'][:2]] == [3, 5]
    found = {
        view for row in batch['inputs'] for view in range(3) if np.array_equal(row, dataset.maps[view][3])
    }
    assert found == {0, 1, 2}, 'visits of one picture take all of its views'
    batch['data_samples'][0].set_gt_score(torch.zeros(3)).set_gt_label([0, 1])
    again = dataset.__getitems__([3])['data_samples'][0]
    assert 'gt_score' not in again, 'what is written into a batch stays in it'
    assert again.gt_label.tolist() == dataset.source.get_cat_ids(3)
    assert dataset.get_cat_ids(5) == dataset.source.get_cat_ids(5)


def test_training_on_them_is_training_with_the_frozen_network_in_the_loop(stored, tmp_path, monkeypatch):
    cfg, _, data = stored
    # From the same start: a backbone would draw random numbers before the head does.
    head = dict(CSRA, normalize=False, init_cfg=dict(type='Constant', layer='CSRAHead', val=0.1))
    candidate = Candidate('csra', head, optim_wrapper=dict(optimizer=dict(type='SGD', momentum=0.9)))
    budget = Budget(epochs=3, batch_size=4)
    plain = data['val']  # one view, so that both see the same
    on_maps = train_head(candidate, plain, 1.0, 0, budget, tmp_path / 'maps').model
    pictures = SplitData(plain.dataset.source, plain.targets, '', plain.boxed)
    frozen = dict(type='mmlattn.FrozenBackbone', backbone=cfg.model.backbone)
    colours = {key: cfg.data_preprocessor[key] for key in ('mean', 'std', 'to_rgb')}
    model = training.model_config(candidate, plain)
    model |= dict(backbone=frozen, data_preprocessor=model['data_preprocessor'] | colours)
    monkeypatch.setattr(training, 'model_config', lambda *_: model)
    in_loop = train_head(candidate, pictures, 1.0, 0, budget, tmp_path / 'loop').model
    moved = (on_maps.head.weight - 0.1).abs().max()
    assert moved > 0.05
    assert (on_maps.head.weight - in_loop.head.weight).abs().max() < 2**-10 * moved


@pytest.mark.parametrize('stop', [5, 12], ids=['before anything was kept', 'in the middle'])
def test_an_interrupted_pass_goes_on_and_ends_with_the_same_file(stored, tmp_path, stop):
    cfg, extractor, data = stored
    source, recipe = read_splits(cfg)['train'], pipeline_recipe(cfg.test_dataloader.dataset.pipeline)

    class PowerCutError(Exception):
        pass

    def failing(inputs):
        failing.seen += len(inputs)
        if failing.seen > stop:
            raise PowerCutError
        return extractor(inputs)

    failing.seen, failing.identity = 0, extractor.identity
    views = dict(views=['plain'], folder=tmp_path, name='train', batch_size=8, workers=0, every=8)
    with pytest.raises(PowerCutError):
        store_views(source, recipe, failing, **views)
    assert not list(tmp_path.glob('*[!t].npy')), 'what is not whole does not look so'
    failing.seen = -100
    file = store_views(source, recipe, failing, **views)['plain']
    assert failing.seen == -100 + 24 - 8 * (stop // 8), 'what was kept is not done again'
    np.testing.assert_array_equal(file.read(), data['train'].dataset.maps[0])
    assert len(file.read_facts()['pictures']) == 24 and not list(tmp_path.glob('*.part.*'))
    failing.seen = -1000
    store_views(source, recipe, failing, **views)
    assert failing.seen == -1000


def test_what_float16_does_not_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match='up to 65504 can be stored'):
        MapWriter(MapFile(tmp_path, 'k'), 2, {}).add(np.full((1, 2, 3, 3), 1e5, np.float32), [{}])


def test_what_the_disk_has_no_room_for_is_refused_before_it_is_mapped(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(UserError, match=r'no room for 1 MB of features .*No space left.* another --features'):
        MapWriter(MapFile(tmp_path, 'k'), 5, {}).add(np.zeros((1, 100, 1000), np.float32), [{}])
    assert not list(tmp_path.iterdir())


def test_a_file_killed_at_its_end_and_again_at_its_start_is_begun_anew(tmp_path):
    file, ones = MapFile(tmp_path, 'k'), np.ones((2, 3), np.float32)
    MapWriter(file, 4, {}, every=2).add(ones, [{}] * 2)
    file.part_maps.replace(file.maps)  # and killed before the facts had their name
    MapWriter(file, 4, {}, every=4).add(ones, [{}] * 2)  # and killed before anything was kept
    assert file.written() == 0
    writer = MapWriter(file, 4, {}, every=2)
    writer.add(np.ones((4, 3), np.float32), [{}] * 4)
    np.testing.assert_array_equal(file.read(), 1)


def test_boxes_that_pictures_are_cut_by_are_part_of_what_they_are(stored):
    source = read_splits(stored[0])['train']
    moved = copy.deepcopy(source)
    moved.get_data_info = lambda number: source.get_data_info(number) | dict(gt_boxes=np.ones((1, 4)))
    assert picture_identity(moved) == picture_identity(source)
    assert picture_identity(moved, ['gt_boxes']) != picture_identity(source, ['gt_boxes'])


def test_weights_named_outside_of_a_frozen_backbone_are_its_own(stored):
    cfg, extractor, _ = copy.deepcopy(stored[0]), *stored[1:]
    inner = dict(cfg.model.backbone)
    outer = inner.pop('init_cfg')
    cfg.model.backbone = dict(type='mmlattn.FrozenBackbone', backbone=inner, init_cfg=outer)
    assert build_extractor(cfg).identity == extractor.identity
    cfg.model.pretrained = 'weights.pth'
    with pytest.raises(UserError, match=r'model\.pretrained is not read here'):
        build_extractor(cfg)


@pytest.mark.parametrize('split', ['val', 'test'])
def test_splits_without_labels_are_refused(stored, split):
    data = stored[2]
    check_labels(data)
    empty = dataclasses.replace(data[split], targets=np.zeros_like(data[split].targets))
    with pytest.raises(UserError, match=f'the {split} split has .* with 0 labels'):
        check_labels(data | {split: empty})


def test_crops_depend_on_the_picture_and_the_view_alone():
    pictures = torch.randint(0, 255, (3, 3, 32, 40), dtype=torch.uint8)
    first = take_view(pictures, 'crop1', [4, 5, 6])
    assert first.shape == pictures.shape and first.dtype == torch.uint8
    torch.testing.assert_close(take_view(pictures[1:2], 'crop1', [5])[0], first[1])
    assert not torch.equal(take_view(pictures, 'crop2', [4, 5, 6]), first)


def test_a_frozen_backbone_stays_as_it_is_and_keeps_its_names(stored):
    cfg, _, _ = stored
    plain = MODELS.build(cfg.model.backbone)
    frozen = MODELS.build(dict(type='mmlattn.FrozenBackbone', backbone=cfg.model.backbone))
    assert frozen.state_dict().keys() == plain.state_dict().keys()
    plain.init_weights()
    frozen.load_state_dict(plain.state_dict())
    before = copy.deepcopy(frozen.state_dict())
    found = frozen.train()(torch.rand(2, 3, 64, 64))[-1]
    assert not found.requires_grad and not any(value.requires_grad for value in frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def test_a_share_of_the_training_pictures_stands_in_for_a_missing_val_split(stored, tmp_path):
    cfg, extractor, data = copy.deepcopy(stored[0]), *stored[1:]
    cfg.val_dataloader = cfg.test_dataloader
    with pytest.raises(UserError, match='16 pictures are in val and in test'):
        read_splits(cfg)
    with pytest.raises(UserError, match='must end with PackInputs, from which labels come, got none'):
        read_splits(Config(dict(cfg, test_dataloader=dict(dataset=None))))
    found = prepare(cfg, extractor, tmp_path, hold_out=0.25, batch_size=8, workers=0)
    inside, outside = (set(found[split].dataset.indices.tolist()) for split in ('train', 'val'))
    assert inside | outside == set(range(24)) and not inside & outside and 4 <= len(outside) <= 8
    assert len(found['val'].dataset.maps) == 1, 'no mirror images to choose by'
    for row, number in enumerate(found['val'].dataset.indices):
        np.testing.assert_array_equal(found['val'].targets[row], data['train'].targets[number])


def test_the_memory_of_a_step_is_what_is_kept_for_the_backward_pass():
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmlattn.StoredFeaturesBackbone'),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(
                type='mmpretrain.MultiLabelLinearClsHead',
                num_classes=3,
                in_channels=50000,
                loss=dict(type='mmpretrain.CrossEntropyLoss', use_sigmoid=True),
            ),
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
        )
    )
    from mmpretrain.structures import DataSample

    batch = dict(inputs=torch.rand(8, 50000, 2, 2), data_samples=[DataSample().set_gt_label([0])] * 8)
    cost = measure_cost(model, batch, repeats=1)
    assert cost.parameters == 150003 and cost.milliseconds > 0
    # Weights, gradients and two moments; then the pooled features. Scores of 3 classes are next to nothing.
    assert cost.megabytes == pytest.approx((4 * 4 * 150003 + 4 * 8 * 50000) / 1e6, rel=1e-3)

"""WIDER Attribute in its own layout: a person a sample, three states, crops as PIL's, damaged files refused."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image

from mmlattn.datasets import CropToBox, WIDERAttribute
from mmlattn.datasets.checks.labels import check_between, check_split
from mmlattn.datasets.checks.splits import read_split
from mmlattn.evaluation import MultiLabelReport
from mmlattn.utils.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs'
NAMES = [
    'Male', 'longHair', 'sunglass', 'Hat', 'Tshirt', 'longSleeve', 'formal', 'shorts', 'jeans', 'longPants',
    'skirt', 'faceMask', 'logo', 'stripe',
]  # fmt: skip
# Two people in the first picture, one of them half outside, none in the second.
PEOPLE = {
    'train/0--Parade/0_Parade_7.jpg': [
        (([1, 0, -1] * 5)[:14], [3.4, 5.5, 20, 30.2]),
        ([-1] * 14, [-10, 20, 25, 60]),
    ],
    'val/1--Handshaking/1_Handshaking_2.jpg': [([0] * 14, [0, 0, 40, 50])],
    'train/2--Demonstration/2_Demonstration_1.jpg': [],
    'test/0--Parade/0_Parade_9.jpg': [([1] * 14, [1, 1, 2, 2])],
}


def content(split):
    images = [
        dict(file_name=name, scene_id=0, targets=[dict(attribute=list(a), bbox=list(b)) for a, b in people])
        for name, people in PEOPLE.items()
        if name.startswith('test') == (split == 'test')
    ]
    ids = {str(number): name for number, name in enumerate(NAMES)}
    # Keys in no order, as a json may have them.
    return dict(images=images, attribute_id_map=dict(reversed(ids.items())), scene_id_map={'0': 'Parade'})


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp('WIDER'), np.random.default_rng(0)
    (root / 'Annotations').mkdir()
    for split in ('trainval', 'test'):
        (root / f'Annotations/wider_attribute_{split}.json').write_text(json.dumps(content(split)))
    for name in PEOPLE:
        path = root / 'Image' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return root


def test_a_sample_is_a_person_with_three_states(root):
    for split, count in dict(train=2, val=1, trainval=3, test=1).items():
        assert len(WIDERAttribute(str(root), split=split, test_mode=True)) == count
    first, second = WIDERAttribute(str(root), split='train')
    assert first['gt_label'] == [0, 3, 6, 9, 12] and first['gt_label_ignore'] == [1, 4, 7, 10, 13]
    assert second['gt_label'] == second['gt_label_ignore'] == []
    assert first['crop_box'] == pytest.approx((3.4, 5.5, 23.4, 35.7))
    assert [item['img_id'] for item in (first, second)] == [
        f'train/0--Parade/0_Parade_7.jpg#{n}' for n in (0, 1)
    ]
    assert list(WIDERAttribute(str(root)).CLASSES) == NAMES
    chosen = WIDERAttribute(str(root), split='train', metainfo=dict(classes=['Hat', 'Tshirt', 'Male']))
    assert chosen[0]['gt_label'] == [0, 2] and chosen[0]['gt_label_ignore'] == [1]


def test_people_of_one_picture_are_not_taken_for_a_picture_listed_twice(root):
    dataset = WIDERAttribute(str(root), split='train')
    split = read_split('train', dataset)
    codes = {finding.code for finding in [*check_split(split), *check_between([split])]}
    assert 'picture-listed-twice' not in codes and not any('contradict' in code for code in codes), codes
    twice = read_split('train', ConcatDataset([dataset, dataset]))
    assert 'picture-listed-twice' in {finding.code for finding in check_split(twice)}


@pytest.mark.parametrize(
    'box',
    [(3, 5, 20, 30), (3.4, 5.5, 23.5, 36.5), (-10, -3, 15, 20), (30, 40, 70.2, 90), (-5, -5, 60, 60)],
)
def test_crops_are_pils(box):
    picture = np.random.default_rng(1).integers(1, 256, (50, 40, 3), dtype=np.uint8)
    done = CropToBox()(dict(img=picture.copy(), ori_shape=(50, 40), crop_box=box))
    expected = np.array(Image.fromarray(picture).crop(box))
    np.testing.assert_array_equal(done['img'], expected)
    assert done['img_shape'] == expected.shape[:2] and done['ori_shape'] == (50, 40)


def test_crops_that_hold_nothing_are_refused():
    picture = np.zeros((50, 40, 3), np.uint8)
    with pytest.raises(
        UserError, match=r'a\.jpg: the box from 40, 0 to 50, 9 has nothing of the picture, 40 wide'
    ):
        CropToBox()(dict(img=picture, img_path='a.jpg', crop_box=(40, 0, 50, 9)))
    with pytest.raises(UserError, match='has no crop_box'):
        CropToBox()(dict(img=picture))


def spoil(path, value):
    def change(content):
        at = content
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (spoil(['attribute_id_map', '3'], 'Male'), 'classes named twice: Male'),
        (spoil(['attribute_id_map'], {'0': 'a', '2': 'b'}), 'must name attributes "0", "1", ...'),
        (spoil(['images', 0, 'targets', 1, 'attribute', 2], 99), r'targets\[1\] of train/.*7.jpg: .* got 99'),
        (spoil(['images', 0, 'targets', 1, 'attribute', 2], True), 'got True'),
        (spoil(['images', 0, 'targets', 0, 'attribute'], [1]), r'must have 14 numbers.* got \[1\]'),
        (spoil(['images', 0, 'targets', 0], 3), 'must be an object with attribute and bbox, got 3'),
        (spoil(['images', 0, 'targets', 0, 'bbox'], [1, 2, 3]), r'must be \[x, y, width, height\]'),
        (spoil(['images', 0, 'targets', 0, 'bbox'], [1, 2, 0.2, 9]), 'with an area'),
        (spoil(['images', 0, 'targets'], None), 'targets a list, got'),
        (spoil(['images', 1, 'file_name'], 'train/0--Parade/0_Parade_7.jpg'), r'is already images\[0\]'),
        (spoil(['images', 1], dict(file_name='a')), r'images\[1\]: targets is missing'),
        (spoil(['images', 0, 'file_name'], 'train/x.jpg'), '2 of 2 images are missing'),
        (spoil(['images'], []), "no person in a picture of split='train', only in those of none"),
    ],
)
def test_damaged_files_are_refused_by_name_and_entry(root, tmp_path, change, says):
    broken = copy.deepcopy(content('trainval'))
    change(broken)
    path = tmp_path / 'broken.json'
    path.write_text(json.dumps(broken))
    with pytest.raises(UserError, match=says) as caught:
        WIDERAttribute(str(root), split='train', ann_file=str(path))
    assert 'broken.json' in str(caught.value)


def test_the_config_masks_nothing_in_training_and_tests_as_the_authors_code(root):
    """Through the whole pipeline of the config, on drawn pictures."""
    cfg = Config.fromfile(CONFIGS / 'csra_vit-b16_wider.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        train = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=str(root)))
        test = DATASETS.build(dict(cfg.test_dataloader.dataset, data_root=str(root), split='train'))
        model = cfg.model.to_dict()
        model['backbone'] = dict(
            type='VisionTransformer', img_size=224, patch_size=16, out_type='featmap',
            arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        )  # fmt: skip
        model['head']['in_channels'] = 16
        model = MODELS.build(dict(model, data_preprocessor=cfg.data_preprocessor))

        def losses():
            np.random.seed(0)
            packed = [train[0], train[2]]
            assert packed[0]['inputs'].shape == (3, 224, 224)
            batch = {key: [sample[key] for sample in packed] for key in ('inputs', 'data_samples')}
            batch = model.data_preprocessor(batch, training=True)
            return model(**batch, mode='loss')['loss'], model(batch['inputs'], mode='tensor')

        model.eval()
        loss, logits = losses()
        target = torch.zeros(2, 14)
        target[0, [0, 3, 6, 9, 12]] = 1
        bce = torch.nn.functional.binary_cross_entropy_with_logits
        torch.testing.assert_close(loss, bce(logits, target))
        model.head.unknown = 'mask'
        known = torch.tensor([[True, False, True] * 5, [False] * 15])[:, :14]
        torch.testing.assert_close(losses()[0], bce(logits[known], target[known]))
    sample = test[0]['data_samples']
    assert sample.gt_label_ignore == [1, 4, 7, 10, 13]
    scores = torch.full((14,), 0.9)
    reports = [MultiLabelReport(**{k: v for k, v in m.items() if k != 'type'}) for m in cfg.val_evaluator]
    values = {}
    for report in reports:
        report.process(
            {}, [dict(pred_score=scores, **{k: sample.get(k) for k in ('gt_label', 'gt_label_ignore')})]
        )
        values[report.prefix] = report.compute_metrics(report.results)
    assert values['multi-label']['OP'] == pytest.approx(100 * 5 / 9)
    assert values['csra-wider']['OP'] == pytest.approx(100 * 5 / 14)

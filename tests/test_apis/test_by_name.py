"""Configs by name, checkpoints that must be given, and class names that must fit."""

import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmlattn
from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.utils.errors import UserError

NAME = 'csra_resnet-mini_multidigits'
NAMES = tuple('abcdefghij')


@pytest.fixture(scope='module')
def cfg():
    return Config.fromfile(mmlattn.config_path(NAME))


def test_names_are_known_here_and_to_mmpretrain(repo_root, tmp_path):
    assert set(mmlattn.config_names()) == {path.stem for path in (repo_root / 'configs').glob('*.py')}
    assert 'csra_r101_coco' in mmpretrain.list_models('csra_r*')
    assert NAME in MultiLabelInferencer.list_models('csra_*mini')
    base = tmp_path / 'mine.py'
    base.write_text("_base_ = [__import__('mmlattn').config_path('csra_r101_coco')]\n")
    assert Config.fromfile(base).model.head.type == 'mmlattn.CSRAHead'
    for call in (mmlattn.config_path, MultiLabelInferencer):
        with pytest.raises(UserError, match=r'called csra_r101_cocoo: did you mean csra_r101_coco'):
            call('csra_r101_cocoo')


@pytest.mark.parametrize('pretrained', [True, None, '', ' '])
def test_random_weights_must_be_asked_for(cfg, pretrained):
    for call in (MultiLabelInferencer, load_model):
        with pytest.raises(UserError, match=r'there is no checkpoint.*pretrained=False'):
            call(cfg, pretrained)
    assert MultiLabelInferencer(NAME, pretrained=False).classes is None


def test_load_from_of_the_config_is_a_checkpoint(cfg, tmp_path):
    model = load_model(cfg, False, seed=3)
    file = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=NAMES))), file)
    with_file = Config(cfg.to_dict() | dict(load_from=str(file)))
    picture = np.full((64, 64, 3), 90, np.uint8)
    for call in (MultiLabelInferencer(with_file), MultiLabelInferencer(NAME, file)):
        assert call.classes == NAMES
        assert torch.equal(call.model.head.weight, model.head.weight)
        assert call(picture)[0]['pred_scores'].shape == (10,)


@pytest.mark.parametrize(
    ('classes', 'words'),
    [
        ('0123456789', 'must be a list of names.*no such file'),
        (list('abc'), r'3 names.*the model 10 outputs'),
        ((*NAMES, 'k'), r'11 names.*the model 10 outputs'),
        (['a'] * 10, 'named twice: a'),
        ([*NAMES[:9], ' '], 'has a blank name'),
        (range(10), 'must be strings'),
        (set(NAMES), 'must be a list of names'),
        (dict.fromkeys(NAMES), 'must be a list of names'),
        (5, 'must be a list of names'),
    ],
)
def test_class_names_must_fit(classes, words):
    with pytest.raises(UserError, match=words):
        MultiLabelInferencer(NAME, False, classes=classes)


def test_class_names_come_in_many_ways(tmp_path):
    file = tmp_path / 'classes.txt'
    file.write_text('\ufeff' + '\n'.join(NAMES) + ' \n\n', encoding='utf-8')
    for classes in (list(NAMES), np.array(NAMES), iter(NAMES), file, str(file)):
        assert MultiLabelInferencer(NAME, False, classes=classes).classes == NAMES


def test_names_of_a_data_set_are_those_that_the_config_chooses(cfg):
    """Of a class with names of its own; as many others are not taken for them."""
    changed = cfg.copy()
    changed.model.head.num_classes = 3
    changed.test_dataloader.dataset.update(type='VOC', metainfo=dict(classes=['car', 'cat', 'dog']))
    assert MultiLabelInferencer(changed, False).classes == ('car', 'cat', 'dog')
    changed.test_dataloader.dataset.pop('metainfo')
    assert MultiLabelInferencer(changed, False).classes is None

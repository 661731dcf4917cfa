"""Published models: the right weights, nothing of the training, and the same predictions from a folder or a hub."""

import hashlib
import json
import os
import pickle
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
import yaml
from mmengine.runner import CheckpointLoader

import mmlattn
from mmlattn.apis import MultiLabelInferencer, load_model
from mmlattn.hub.cards import Measured
from mmlattn.hub.publishing import publish, published
from mmlattn.structures import Decision, with_decision
from mmlattn.utils.checkpoint.digests import add_digests
from mmlattn.utils.checkpoint.loading import safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import load_config

huggingface_hub = pytest.importorskip('huggingface_hub')
constants = pytest.importorskip('huggingface_hub.constants')
NAME = 'csra_resnet-mini_multidigits'
CLASSES = tuple('abcdefghij')


def checkpoint(state, **parts):
    """As training with EMA leaves it: the averages in state_dict."""
    averages = {f'module.{name}': value * 0 for name, value in state.items()} | dict(steps=torch.tensor(3))
    meta = dict(epoch=2, iter=9, cfg='secret', experiment_name='secret', dataset_meta=dict(classes=CLASSES))
    content = dict(state_dict=state, ema_state_dict=averages, meta=meta, message_hub={}, optimizer=dict(a=1))
    add_digests(content)
    return content | parts


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A file with weights and a decision, and what a model with them predicts for a picture."""
    file = tmp_path_factory.mktemp('trained') / 'epoch_2.pth'
    model = load_model(load_config(NAME), False, seed=1)
    decision = Decision(CLASSES, [0.3] * 9 + [float('inf')], [1.5] * 10, [0.1] * 10, 'f1', 'val', 9)
    content = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES)))
    torch.save(with_decision(content, decision), file)
    return file, predictions(MultiLabelInferencer(NAME, file)), decision


def predictions(inferencer):
    (result,) = inferencer(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    return [*result['pred_scores'].tolist(), *result['pred_classes']]


@pytest.mark.parametrize('averaged', [True, False])
def test_weights_of_ema(averaged):
    state = dict(a=torch.ones(2), b=torch.tensor(3))
    content = published(checkpoint(state), 'a.pth', averaged=averaged)
    assert (
        content.keys() == {'state_dict', 'meta', 'digests'} and content['state_dict'].keys() == state.keys()
    )
    assert all(torch.equal(content['state_dict'][n], v * averaged) for n, v in state.items())
    assert content['meta'] == dict(
        epoch=2, iter=9, dataset_meta=dict(classes=CLASSES), mmlattn_version=mmlattn.__version__
    )


def test_a_decision_stays_with_its_weights():
    decision = Decision(CLASSES, [0.3] * 10, [1.0] * 10, [0.0] * 10, 'f1', 'val', 9)
    decided = with_decision(checkpoint(dict(a=torch.ones(2))), decision)
    assert published(decided, 'a.pth')['meta']['mmlattn_decision']['thresholds'] == [0.3] * 10
    plain = decided | dict(state_dict=dict(a=torch.zeros(2)))  # as mmpretrain's publish_model.py --no-ema
    del plain['ema_state_dict']
    for call in (lambda: published(decided, 'a.pth', averaged=False), lambda: published(plain, 'a.pth')):
        with pytest.raises(UserError, match=r'a\.pth: its stored decision is for the averaged weights'):
            call()
    with pytest.raises(UserError, match=r'a\.pth: it has no ema_state_dict.*leave --no-ema out'):
        published(dict(a=torch.ones(2)), 'a.pth', averaged=False)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_one_file_with_its_hash_in_the_name(tmp_path, suffix, trained):
    content = published(
        torch.load(trained[0], weights_only=False), 'a.pth', config=dict(model=dict(type='A'))
    )
    file, told = publish(content, tmp_path / f'mine{suffix}')
    digits = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (file.name, told.name) == (f'mine-{digits[:8]}{suffix}', f'mine-{digits[:8]}.json')
    facts = json.loads(told.read_text())
    assert facts['sha256'] == digits and facts['bytes'] == file.stat().st_size
    assert facts['classes'] == list(CLASSES) and facts['thresholds'] == dict(
        zip(CLASSES, [0.3] * 9 + [None], strict=True)
    )
    assert facts['mmlattn_config'] == dict(model=dict(type='A'))
    with safe_loading():
        found = CheckpointLoader.load_checkpoint(str(file))
    assert found['state_dict'].keys() == content['state_dict'].keys()
    assert all(torch.equal(found['state_dict'][n], value) for n, value in content['state_dict'].items())
    assert predictions(MultiLabelInferencer(NAME, file)) == trained[1]
    with pytest.raises(UserError, match='exists and is not overwritten'):
        publish(content, tmp_path / f'mine{suffix}')
    assert sorted(tmp_path.iterdir()) == sorted([file, told])


@pytest.fixture(scope='module')
def folder(trained, tmp_path_factory):
    measured = Measured({'multi-label/mAP': 12.5}, 'on 3 made-up pictures by tools/test.py')
    place = tmp_path_factory.mktemp('published') / 'csra'
    return mmlattn.save_pretrained(place, NAME, trained[0], measured=measured, license_name='apache-2.0')


def test_a_folder_predicts_the_same(folder, trained):
    assert sorted(os.listdir(folder)) == ['README.md', 'config.json', 'model.safetensors']
    model = mmlattn.from_pretrained(folder)
    assert not model.training and model._decision == trained[2]
    inferencer = MultiLabelInferencer(model)
    assert inferencer.classes == CLASSES and predictions(inferencer) == trained[1]
    # The tools take the two files as they take any config and checkpoint.
    assert (
        predictions(MultiLabelInferencer(folder / 'config.json', folder / 'model.safetensors')) == trained[1]
    )
    with pytest.raises(UserError, match='exists and is not overwritten'):
        mmlattn.save_pretrained(folder, NAME, trained[0])


def test_the_card_keeps_published_and_measured_apart(folder, trained, tmp_path):
    _, front, text = (folder / 'README.md').read_text().split('---\n', 2)
    assert yaml.safe_load(front) == dict(
        library_name='mmlattn',
        pipeline_tag='image-classification',
        tags=['mmlattn', 'ImageClassifier', 'ResNet_CIFAR', 'CSRAHead'],
        license='apache-2.0',
    )
    published_part, measured_part = text.split('**Published**')[1].split('**Measured**')
    assert 'none known' in published_part and '12.5' in measured_part and 'made-up' in measured_part
    # Of a recipe whose authors tell a number, and of one that builds on it.
    from mmlattn.hub.cards import card_text, published_numbers

    facts = dict(parameters=3, mmlattn_version='0', decision=None, classes=['a|b', '<script>'])
    cfg = load_config('csra_r101_coco')
    text = card_text('me/csra', cfg, facts)
    assert '| mAP, COCO 2014 | 83.3 |' in text and 'not measured.' in text and r'a\|b, \<script\>' in text
    mine = tmp_path / 'csra_r101_coco.py'
    mine.write_text("_base_ = [__import__('mmlattn').config_path('csra_r101_coco')]\n")
    assert published_numbers(load_config(str(mine))) == {}
    with pytest.raises(UserError, match='need values, and how they were found'):
        card_text('a', cfg, facts, Measured({'mAP': 1.0}, ' '))


DAMAGE = {
    'no weights': (lambda f: (f / 'model.safetensors').unlink(), 'has no model.safetensors'),
    'no config': (lambda f: (f / 'config.json').unlink(), 'has no config.json'),
    'no json': (lambda f: (f / 'config.json').write_text('model = dict()'), 'config.json is no json'),
    'pickle': (
        lambda f: (f / 'model.safetensors').write_bytes(pickle.dumps(os.getcwd)),
        'cannot be read as safetensors',
    ),
    'cut off': (
        lambda f: (f / 'model.safetensors').write_bytes((f / 'model.safetensors').read_bytes()[:-9]),
        'cannot be read as safetensors',
    ),
    'other model': (
        lambda f: (f / 'config.json').write_text(
            (f / 'config.json').read_text().replace('"num_classes": 10', '"num_classes": 9')
        ),
        'holds the weights of another model than the config',
    ),
    'a layer alone': (
        lambda f: (f / 'config.json').write_text(
            json.dumps(
                json.loads((f / 'config.json').read_text())
                | dict(model=dict(type='LinearNeck', in_channels=1, out_channels=1), data_preprocessor=None)
            )
        ),
        'config.json: its model cannot be built',
    ),
}


@pytest.mark.parametrize('kind', DAMAGE)
def test_a_folder_that_is_none(folder, tmp_path, kind):
    damaged = tmp_path / 'folder'
    damaged.mkdir()
    for file in folder.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / 'config.py').write_text(f'open({str(tmp_path / "marker")!r}, "w")')
    DAMAGE[kind][0](damaged)
    with pytest.raises(UserError) as caught:
        mmlattn.from_pretrained(damaged)
    assert DAMAGE[kind][1] in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'marker').exists()


def test_what_is_neither_a_folder_nor_a_repository(tmp_path, folder):
    with pytest.raises(UserError, match=r'there is no folder .*nowhere, and a repository is named user/name'):
        mmlattn.from_pretrained(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='is a folder, which has no revision'):
        mmlattn.from_pretrained(folder, revision='main')
    with pytest.raises(UserError, match="the device 'gpu' can not be used here"):
        mmlattn.from_pretrained(folder, device='gpu')
    with pytest.raises(UserError, match=r"named user/name, got 'csra'"):
        mmlattn.push_to_hub(folder, 'csra')


def test_a_repository_in_the_cache(folder, trained, tmp_path, monkeypatch):
    """huggingface_hub's own client without a network, on its own layout of a cache."""
    commit, repository = '0' * 40, tmp_path / 'models--me--csra'
    (repository / 'refs').mkdir(parents=True)
    (repository / 'refs' / 'main').write_text(commit)
    snapshot = repository / 'snapshots' / commit
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    assert predictions(MultiLabelInferencer(mmlattn.from_pretrained('me/csra'))) == trained[1]
    with pytest.raises(UserError, match=r'me/other could not be fetched \('):
        mmlattn.from_pretrained('me/other')


def test_a_push_sends_the_three_files_and_opens_them_first(folder, tmp_path):
    api = create_autospec(huggingface_hub.HfApi, instance=True)
    sent = {}

    def upload(*, repo_id, folder_path, allow_patterns, commit_message):
        files = huggingface_hub.utils.filter_repo_objects(
            os.listdir(folder_path), allow_patterns=allow_patterns
        )
        sent[repo_id] = {name: Path(folder_path, name).read_bytes() for name in files}

    api.upload_folder.side_effect = upload
    api.create_repo.return_value = 'https://hub.example/me/csra'
    mixed = tmp_path / 'mixed'
    mixed.mkdir()
    for file in folder.iterdir():
        (mixed / file.name).write_bytes(file.read_bytes())
    (mixed / 'private.txt').write_text('mine')
    assert mmlattn.push_to_hub(mixed, 'me/csra', api=api) == 'https://hub.example/me/csra'
    assert sent == {'me/csra': {file.name: file.read_bytes() for file in folder.iterdir()}}
    api.create_repo.assert_called_once_with('me/csra', private=True, exist_ok=True)
    api.upload_folder.side_effect = huggingface_hub.errors.LocalTokenNotFoundError('no token\nmore')
    with pytest.raises(UserError, match=r'me/csra could not be written \(no token\)'):
        mmlattn.push_to_hub(folder, 'me/csra', api=api)
    (mixed / 'README.md').unlink()
    (mixed / 'README.md').symlink_to(mixed / 'private.txt')
    with pytest.raises(UserError, match=r'README.md is a link, which could lead to anything'):
        mmlattn.push_to_hub(mixed, 'me/other', api=api)
    for name in ('README.md', 'config.json'):
        (mixed / name).unlink()
    with pytest.raises(UserError, match=r'has no config.json'):
        mmlattn.push_to_hub(mixed, 'me/other', api=api)
    assert 'me/other' not in sent

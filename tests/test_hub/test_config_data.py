"""A config from others is data: it builds registered classes of known packages, in their places, or nothing."""

import copy
import json
import sys

import pytest
from mmengine.config import Config

from mmlattn.hub.config_data import check_config_data, config_data, config_from_data
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import load_config

CONFIG = 'csra_resnet-mini_multidigits'


@pytest.fixture(scope='module')
def data():
    return config_data(load_config(CONFIG))


@pytest.mark.parametrize(
    'name',
    [
        'cnn-rnn_r101_coco_pla', 'cnn-rnn_resnet-mini_digit-sets', 'csra_r50_coco_dropin', 'csra_vit-b16_wider',
        'linear_r101_coco', 'racnn_vgg19_cub', 'ran_attention92_in1k_320', 'st-lstm_vgg16_voc07_640',
    ],
)  # fmt: skip
def test_a_model_of_every_system_can_be_published(name):
    data = config_data(load_config(name))
    text = json.dumps(data, allow_nan=False)
    assert json.loads(text) == data
    assert 'Pretrained' not in text and '/' not in text, name


def test_classes_of_a_config_in_pure_python_go_by_their_names(tmp_path):
    file = tmp_path / 'lazy.py'
    file.write_text("""
from mmpretrain.datasets import PackInputs, ResizeEdge
from mmcv.transforms import LoadImageFromFile
from mmpretrain.models import GlobalAveragePooling, ImageClassifier, ResNet
from torch.nn import BatchNorm2d
from mmlattn.models import CSRAHead
from mmpretrain.datasets import CustomDataset

model = dict(type=ImageClassifier, backbone=dict(type=ResNet, depth=18, norm_cfg=dict(type=BatchNorm2d)),
             neck=dict(type=GlobalAveragePooling), head=dict(type=CSRAHead, num_classes=2, in_channels=512))
test_dataloader = dict(dataset=dict(type=CustomDataset, data_root='secret/place', pipeline=[
    dict(type=LoadImageFromFile), dict(type=ResizeEdge, scale=32), dict(type=PackInputs)]))
""")
    data = config_data(load_config(str(file)))
    assert data['model']['backbone'] == dict(type='ResNet', depth=18, norm_cfg=dict(type='BN'))
    assert data['model']['head']['type'] == 'CSRAHead'
    assert [step['type'] for step in data['test_dataloader']['dataset']['pipeline']] == [
        'LoadImageFromFile', 'ResizeEdge', 'PackInputs',
    ]  # fmt: skip
    assert 'secret' not in json.dumps(data)


RUNS = 'run_by_the_config'
HOSTILE = {
    'function': ('model', dict(type='subprocess.Popen', args=['touch', 'marker'])),
    'function in a head': ('model.head', dict(type='os.system', command='touch marker')),
    'module of the folder': ('model.head', dict(type=f'{RUNS}.Anything')),
    'module of the folder, alone': ('model.head', dict(type=RUNS)),
    'loss': ('model.head.loss', dict(type='builtins.eval', source='1')),
    'layer': ('model.backbone.norm_cfg', dict(type='importlib.import_module', name=RUNS)),
    'layer without type': ('model.backbone.norm_layer', f'{RUNS}.Norm'),
    'decoder': ('model.head', dict(type='mmlattn.CNNRNNHead', num_classes=2, in_channels=2, decoder=RUNS)),
    'scope': ('model.head._scope_', RUNS),
    'default scope': ('default_scope', RUNS),
    'imports': ('custom_imports', dict(imports=[RUNS])),
    'scope in a name': ('model.head.type', f'{RUNS}.CSRAHead'),
    'a class of another kind': ('model.head.type', 'LoadImageFromFile'),
    'model of a hub': ('model', dict(type='HuggingFaceClassifier', model_name='a/b', trust_remote_code=True)),
    'weights of a hub': ('model.backbone', dict(type='TIMMBackbone', model_name='hf-hub:a/b')),
    'file of a network': (
        'model.backbone',
        dict(type='TIMMBackbone', model_name='resnet18', head_init='a/b.pth'),
    ),
    'text for eval': (
        'test_dataloader.dataset.pipeline',
        [dict(type='torchvision/ConvertImageDtype', dtype=f'float32 if __import__("{RUNS}") else 0')],
    ),
    'transform': ('test_dataloader.dataset.pipeline', [dict(type='os.system', command='touch marker')]),
    'transforms of others': (
        'test_dataloader.dataset.pipeline',
        [dict(type='Albumentations', transforms=[dict(type='CenterCrop')])],
    ),
    'the same by another name': (
        'test_dataloader.dataset.pipeline',
        [dict(type='Albu', transforms=[dict(type='CenterCrop')])],
    ),
    'a text for a step': ('test_dataloader.dataset.pipeline', ['os.system']),
    'deep in a list': ('model.head.loss', dict(type='CrossEntropyLoss', more=[[[dict(type='os.system')]]])),
    'dataset': ('test_dataloader.dataset.type', f'{RUNS}.Data'),
    'sampler': ('test_dataloader.sampler', dict(type='os.system')),
    'path': ('model.head.loss', dict(type='CrossEntropyLoss', class_weight='../../etc/passwd')),
    'path, deep in lists': ('model.head.loss', dict(type='CrossEntropyLoss', class_weight=[['../secret']])),
    'name of a setting': ('model.head', {'type': 'CSRAHead', 'a\nb': 1}),
    'preprocessor': ('data_preprocessor.type', 'os.system'),
    'preprocessor by its name': ('data_preprocessor', 'ClsDataPreprocessor'),
    'nested': ('model.head.more', json.loads('[' * 400 + ']' * 400)),
    'metainfo': ('test_dataloader.dataset.metainfo', dict(classes='/etc/passwd')),
    'number as type': ('model.head.type', 3),
    'list as type': ('model.head.type', ['CSRAHead']),
    'no model': ('model', 'ImageClassifier'),
    'no pipeline': ('test_dataloader', {}),
}


@pytest.mark.parametrize('way', HOSTILE)
def test_what_asks_for_more_is_refused_before_anything_is_built(data, tmp_path, monkeypatch, way):
    (tmp_path / f'{RUNS}.py').write_text("open('marker', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    place, value = HOSTILE[way]
    asking = copy.deepcopy(data)
    *path, last = place.split('.')
    holder = asking
    for name in path:
        holder = holder.setdefault(name, {})
    holder[last] = value
    with pytest.raises(UserError) as caught:
        config_from_data(asking, 'config.json')
    assert str(caught.value).startswith('config.json: ') and '\n' not in str(caught.value)
    assert not (tmp_path / 'marker').exists() and RUNS not in sys.modules


def test_neither_weights_nor_pictures_are_fetched(data):
    """A backend of mmengine, memcached, would import the module mc from a folder that the config names."""
    asking = copy.deepcopy(data)
    asking['model']['backbone']['init_cfg'] = dict(type='Constant', val=0)
    asking['model']['pretrained'] = 'words'
    fetch = dict(backend='memcached', sys_path='folder', server_list_cfg='a', client_cfg='b')
    asking['test_dataloader']['dataset']['pipeline'][0] |= dict(backend_args=fetch, file_client_args=fetch)
    cfg = config_from_data(asking, 'config.json')
    assert isinstance(cfg, Config) and cfg.to_dict() == data


def test_classes_of_a_users_own_module_are_not_published():
    cfg = load_config(CONFIG)
    cfg.model.head.type = 'MyHead'
    with pytest.raises(
        UserError, match=r"model.head.type is 'MyHead', which is no model of mmlattn, mmpretrain"
    ):
        config_data(cfg)
    with pytest.raises(UserError, match='the config has no model to publish'):
        config_data(Config(dict(test_cfg={})))


@pytest.mark.parametrize('data', [3, None, [], {}, {'model': []}])
def test_what_is_no_config(data):
    with pytest.raises(UserError, match=r'config.json: it is no dict with a model'):
        check_config_data(data, 'config.json')

"""The config of a published model: json that names classes and settings, never Python.

A config that is a Python file runs when it is read. As json it still can: mmengine's registries import whatever a
``type`` names, be it ``subprocess.Popen``. So a config from others is built only if each class that it names is
registered, in the packages below, in the place where such a class belongs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import isclass
from typing import Any, NoReturn

from mmengine.config import Config
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import Registry
from mmengine.utils import get_object_from_string

from mmlattn.datasets.checked_settings import read_names
from mmlattn.models.cnn_rnn.head import DECODERS
from mmlattn.registry import DATASETS, MODELS, TRANSFORMS
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import finite_or_null
from mmlattn.utils.launch.config import dataset_of

#: Scopes whose plain names and prefixes are known; another one would be imported.
_SCOPES = ('mmlattn', 'mmpretrain', 'mmcv', 'mmengine')
_DEEPEST = 30
_PARTS = ('default_scope', 'model', 'data_preprocessor', 'test_dataloader')
_DATASET = ('type', 'pipeline', 'metainfo')
#: Where the classes of each kind may come from. Transforms of torchvision are left out: mmpretrain gives some of
#: their texts to ``eval``.
_MODULES = {
    'model': (
        'mmlattn.models.', 'mmpretrain.models.backbones.', 'mmpretrain.models.necks.', 'mmpretrain.models.heads.',
        'mmpretrain.models.losses.', 'mmpretrain.models.classifiers.image', 'mmpretrain.models.utils.',
        'mmlattn.comparison.stored.', 'mmcv.cnn.', 'mmcv.ops.', 'torch.nn.modules.',
        'mmengine.model.base_model.data_preprocessor',
    ),
    'transform': ('mmlattn.datasets.', 'mmpretrain.datasets.transforms.', 'mmcv.transforms.'),
    'dataset': ('mmlattn.datasets.', 'mmpretrain.datasets.', 'mmengine.dataset.'),
}  # fmt: skip
_REGISTRIES = dict(
    model=(MODELS, ROOT_MODELS), transform=(TRANSFORMS, ROOT_TRANSFORMS), dataset=(DATASETS, ROOT_DATASETS)
)
#: These import or load by name what a setting says.
_LEFT_OUT = ('Albumentations', 'VQKD')
#: Settings whose text names a class, as ``type`` does: of CNNRNNHead, of mmpretrain's TIMMBackbone.
_BUILT = ('decoder', 'norm_layer')
#: Weights come with the config, and pictures from the reader: of mmengine's ways to fetch a file one imports a module
#: from a folder that a setting names.
_NOT_TAKEN = ('init_cfg', 'pretrained', 'fc_from_vgg', 'checkpoint_path', 'backend_args', 'file_client_args')


def config_data(cfg: Config) -> dict:
    """What a model and its test pipeline are built from, as json has it.

    Left out is what training alone needs, what names files or fetches them, and where weights were taken from.

    Raises:
        UserError: If the config has no model, or one that is not made of the classes of ``check_config_data``.
    """
    whole = cfg.to_dict()
    if not isinstance(whole.get('model'), Mapping):
        raise UserError('the config has no model to publish')
    model = _plain(whole['model'], 'model')
    model.pop('train_cfg', None)
    data = dict(default_scope=whole.get('default_scope') or 'mmpretrain', model=model)
    if whole.get('data_preprocessor') is not None:
        data['data_preprocessor'] = _plain(whole['data_preprocessor'], 'data_preprocessor')
    dataset = dataset_of(whole)
    if not isinstance(dataset.get('pipeline'), Sequence):
        raise UserError(
            'the config has no test_dataloader.dataset.pipeline, which says how to prepare a picture'
        )
    kept = {
        name: _plain(dataset[name], f'dataset.{name}') for name in ('type', 'pipeline') if name in dataset
    }
    names = (dataset.get('metainfo') or {}).get('classes')
    if names is not None:
        kept['metainfo'] = dict(classes=list(read_names(names)))
    data['test_dataloader'] = dict(dataset=kept)
    data = finite_or_null(data)
    check_config_data(data, 'the config')
    return data


def config_from_data(data: Any, name: str) -> Config:
    """The config that :func:`config_data` wrote, or that others say it did.

    Raises:
        UserError: As :func:`check_config_data`.
    """
    if isinstance(data, Mapping):
        _check_depth(data, name)
        data = _without_sources(data)
    check_config_data(data, name)
    return Config(data)


def check_config_data(data: Any, name: str) -> None:
    """See that a config from others names nothing but registered classes of known packages, each in its place.

    Args:
        data (Any): As it was read from json.
        name (str): What messages call it.

    Raises:
        UserError: In one line, at the first thing that is wrong.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get('model'), Mapping):
        _wrong(name, 'it is no dict with a model')
    _check_depth(data, name)
    if odd := sorted(map(str, data.keys() - set(_PARTS))):
        _wrong(name, f'it sets {odd[0]}, and a published config has {", ".join(_PARTS)} alone')
    if data.get('default_scope', 'mmpretrain') not in _SCOPES:
        _wrong(name, f'its default_scope is {data["default_scope"]!r:.60}, not one of {", ".join(_SCOPES)}')
    _check_types(data['model'], 'model', name, 'model')
    prepare = data.get('data_preprocessor') or {}
    if not isinstance(prepare, Mapping):
        _wrong(name, 'its data_preprocessor is no dict')
    _check_types(prepare, 'model', name, 'data_preprocessor')
    loader = data.get('test_dataloader') or {}
    dataset = loader.get('dataset') if isinstance(loader, Mapping) else None
    if not isinstance(dataset, Mapping) or loader.keys() - {'dataset'} or dataset.keys() - set(_DATASET):
        _wrong(name, f'its test_dataloader has more or less than a dataset with {", ".join(_DATASET)}')
    _check_class(dataset.get('type'), 'dataset', name, 'test_dataloader.dataset.type')
    classes = dataset.get('metainfo', dict(classes=[]))
    if (
        not isinstance(classes, Mapping)
        or set(classes) != {'classes'}
        or not isinstance(classes['classes'], list)
    ):
        _wrong(name, 'its metainfo is no dict with a list of classes')
    pipeline = dataset.get('pipeline')
    if not isinstance(pipeline, list) or not all(isinstance(step, Mapping) for step in pipeline):
        _wrong(name, 'its test pipeline is no list of dicts')
    _check_types(pipeline, 'transform', name, 'test_dataloader.dataset.pipeline')


def _without_sources(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_sources(item) for key, item in value.items() if key not in _NOT_TAKEN}
    return [_without_sources(item) for item in value] if isinstance(value, (list, tuple)) else value


def _plain(value: Any, where: str) -> Any:
    """Plain containers, with classes by their registered names, and without what fetches weights or files."""
    if isinstance(value, Mapping):
        return {key: _plain(item, f'{where}.{key}') for key, item in value.items() if key not in _NOT_TAKEN}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isclass(value):
        return _registered_name(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        dotted = isinstance(value, str) and where.endswith('.type') and value.count('.') > 1
        return _registered_name(get_object_from_string(value)) if dotted else value
    raise UserError(
        f'{where} is a {type(value).__name__}, which a published config has no place for: write numbers, texts, '
        'lists and dicts'
    )


def _registered_name(kind: type) -> str:
    """How a registry calls a class that a config in pure Python names."""
    for registries in map(_chain, _REGISTRIES):
        for registry in registries:
            registry.import_from_location()
            for name, found in registry.module_dict.items():
                if found is kind:
                    return name
    return f'{kind.__module__}.{kind.__qualname__}'


def _check_depth(data: Mapping, name: str) -> None:
    layer = [data]
    for _ in range(_DEEPEST):
        dicts = [item.values() for item in layer if isinstance(item, Mapping)]
        layer = [part for items in dicts for part in items] + [
            part for item in layer if isinstance(item, (list, tuple)) for part in item
        ]
    if layer:
        _wrong(name, f'it is nested more than {_DEEPEST} deep')


def _check_types(value: Any, kind: str, name: str, where: str) -> None:
    for place, item in _dicts(value, where):
        if item.get('_scope_', 'mmlattn') not in _SCOPES:
            _wrong(name, f'{place}._scope_ is {item["_scope_"]!r:.60}, not one of {", ".join(_SCOPES)}')
        timm = str(item.get('type')).endswith('TIMMBackbone')
        for key, setting in item.items():
            if not re.fullmatch(r'\w+', key):
                _wrong(name, f'{place} sets {key!r:.80}, which is no name of a setting')
            if key == 'type' or (key in _BUILT and isinstance(setting, str)):
                _check_class(setting, kind, name, f'{place}.{key}')
            elif not (timm and key == 'model_name'):
                _check_texts(setting, name, f'{place}.{key}')
        if timm and not re.fullmatch(r'[\w.]+', str(item.get('model_name'))):
            # Timm takes weights and further settings from a hub or a folder by the name of a model.
            _wrong(
                name, f'{place}.model_name is {item.get("model_name")!r:.60}, not the name of a network alone'
            )


def _check_texts(value: Any, name: str, where: str) -> None:
    """No text that could name a file or a class, in itself or in lists."""
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_texts(item, name, where)
    elif isinstance(value, str) and not re.fullmatch(r'[\w -]*', value):
        _wrong(name, f'{where} is {value!r:.80}, and a text of a published config is words alone')


def _dicts(value: Any, where: str) -> Iterator[tuple[str, Mapping]]:
    waiting = [(where, value)]
    while waiting:
        place, item = waiting.pop()
        if isinstance(item, Mapping):
            yield place, item
            waiting.extend((f'{place}.{key}', below) for key, below in item.items())
        elif isinstance(item, (list, tuple)):
            waiting.extend((place, below) for below in item)


def _check_class(named: Any, kind: str, name: str, where: str) -> None:
    """A class that a registry of this kind has by this name, from the packages in which such classes are."""
    found = None
    if isinstance(named, str):
        if named in DECODERS and where.removesuffix('.type').endswith('.decoder'):
            return
        scope, _, plain = named.rpartition('.')
        if scope in ('', *_SCOPES):
            found = next(filter(None, (_entry(registry, plain) for registry in _chain(kind))), None)
    if (
        not isclass(found)
        or not f'{found.__module__}.'.startswith(_MODULES[kind])
        # Some are registered under a second name, others build on them.
        or any(base.__name__ in _LEFT_OUT for base in found.__mro__)
    ):
        _wrong(
            name,
            f'{where} is {named!r:.80}, which is no {kind} of mmlattn, mmpretrain or mmcv that may be built '
            'from a config of others',
        )


def _chain(kind: str) -> Iterator[Registry]:
    ours, root = _REGISTRIES[kind]
    yield from (ours, ours._twin, root)


def _entry(registry: Registry, plain: str) -> Any:
    registry.import_from_location()
    return registry.module_dict.get(plain)


def _wrong(name: str, problem: str) -> NoReturn:
    raise UserError(f'{name}: {problem}')

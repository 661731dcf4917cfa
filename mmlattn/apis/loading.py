"""Models for the tools that look inside: trained, or as training would start."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader
from mmpretrain.apis import get_model
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.utils.checkpoint import safe_loading
from mmlattn.utils.weights import load_all_weights, loads_weights


def load_model(
    cfg: Config,
    checkpoint: str | None = None,
    *,
    seed: int = 0,
    device: str | torch.device = 'cpu',
    trust: bool = False,
) -> BaseModel:
    """A classifier ready to predict.

    Args:
        cfg (Config): The config of a classifier.
        checkpoint (str, optional): Path or URL; see :func:`load_trained`. Without one the weights are random, as
            the config initialises them, pretrained ones left out, and batch normalisation takes the statistics of
            each batch, as there are no others.
        seed (int): Of random weights.
        device (str | torch.device): Where to run.
        trust (bool): Open a checkpoint that can run code.
    """
    if checkpoint is None:
        cfg = Config(without_pretrained(cfg.to_dict()))
        torch.manual_seed(seed)
    model = get_model(cfg, device='cpu')
    if checkpoint is None:
        logger = MMLogger.get_current_instance()
        level = logger.level
        # It would list every parameter.
        logger.setLevel('WARNING')
        model.init_weights()
        logger.setLevel(level)
        for module in model.modules():
            module.training = isinstance(module, _BatchNorm)
        return model.to(device)
    load_trained(model, checkpoint, trust=trust)
    return model.to(device)


def load_trained(model: BaseModel, checkpoint: str, *, trust: bool = False) -> None:
    """Load a checkpoint, a path or URL, that has all weights of a model, and the names of the classes if it has them.

    Raises:
        UserError: If the checkpoint does not fit the model, or can run code and ``trust`` is not set.
    """
    with safe_loading(trust=trust):
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    load_all_weights(model, content, checkpoint)
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
    dataset.pipeline = [t for t in dataset.pipeline if not t['type'].rpartition('.')[2].endswith('Crop')]
    return cfg

"""Models for the tools that look inside: trained, or as training would start."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from mmpretrain.apis import get_model
from torch.nn.modules.batchnorm import _BatchNorm

from mmlattn.utils.checkpoint import safe_loading
from mmlattn.utils.errors import UserError
from mmlattn.utils.init_cfg import loads_weights

__all__ = ['load_model', 'without_crops']


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
        checkpoint (str, optional): Path or URL; it must hold all weights of the model and no others. Without one
            the weights are random, as the config initialises them, pretrained ones left out, and batch
            normalisation takes the statistics of each batch, as there are no others.
        seed (int): Of random weights.
        device (str | torch.device): Where to run.
        trust (bool): Open a checkpoint that can run code.

    Returns:
        BaseModel: In evaluation mode, but for batch normalisation of random weights.

    Raises:
        UserError: If the checkpoint does not fit the model.
    """
    if checkpoint is None:
        cfg = Config(without_pretrained(cfg.to_dict()))
        torch.manual_seed(seed)
    model = get_model(cfg, device='cpu')
    if checkpoint is None:
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel('WARNING')  # it would list every parameter
        model.init_weights()
        logger.setLevel(level)
        for module in model.modules():
            module.training = isinstance(module, _BatchNorm)
        return model.to(device)
    with safe_loading(trust=trust):
        try:
            content = load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
        except RuntimeError as error:
            raise UserError(
                f'{checkpoint} holds the weights of another model than the config: {error}'
            ) from error
    model._dataset_meta = content.get('meta', {}).get('dataset_meta', model._dataset_meta)
    return model.to(device)


def without_pretrained(cfg: Any) -> Any:
    """A config, or a part of one, in which nothing is initialised from weights of others."""
    if isinstance(cfg, Mapping):
        return {
            key: without_pretrained(value)
            for key, value in cfg.items()
            if key != 'pretrained' and not (key == 'init_cfg' and loads_weights(value))
        }
    if isinstance(cfg, (list, tuple)):
        return type(cfg)(without_pretrained(value) for value in cfg)
    return cfg


def without_crops(cfg: Config) -> Config:
    """The config with nothing cropped in its test pipeline, so that the network sees whole pictures.

    Their sizes may then differ, so they should pass one by one.
    """
    cfg = copy.deepcopy(cfg)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = [t for t in dataset.pipeline if not t['type'].rpartition('.')[2].endswith('Crop')]
    return cfg

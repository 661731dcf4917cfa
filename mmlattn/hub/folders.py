"""A folder with all of a model: ``model.safetensors``, ``config.json`` and ``README.md``; nothing in it is code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader

from mmlattn.apis.loading import build_model, class_names, load_trained
from mmlattn.utils.arguments import refuse_existing
from mmlattn.utils.checkpoint.loading import safe_loading
from mmlattn.utils.checkpoint.weight_files import write_weights
from mmlattn.utils.errors import UserError
from mmlattn.utils.json_files import to_json
from mmlattn.utils.launch.config import load_config

from .cards import Measured, card_text
from .config_data import config_data, config_from_data
from .publishing import facts_of, published

WEIGHTS, CONFIG, CARD = 'model.safetensors', 'config.json', 'README.md'
#: All that is taken to a hub and from one.
FILES = (WEIGHTS, CONFIG, CARD)
_MOST_CONFIG = 2**21


def save_pretrained(
    folder: str | Path,
    config: Config | str | Path,
    checkpoint: str | Path,
    *,
    name: str | None = None,
    averaged: bool = True,
    measured: Measured | None = None,
    license_name: str | None = None,
    trust: bool = False,
) -> Path:
    """Write a new folder that :func:`load_folder` makes the same model from.

    Args:
        folder (str | Path): Must not exist.
        config (Config | str | Path): Of the model, or its path, or the name of one of ours.
        checkpoint (str | Path): Path or URL of its weights.
        name (str, optional): For the card; ``user/name`` where it will be on a hub; default that of the folder.
        averaged (bool): See :func:`mmlattn.hub.publishing.published`.
        measured (Measured, optional): Numbers for the card.
        license_name (str, optional): Of the weights, as a hub names it.
        trust (bool): Open a checkpoint that can run code.

    Raises:
        UserError: If the folder exists, the weights do not fit the config, or the config is no data.
    """
    folder = Path(folder)
    refuse_existing('folder', folder)
    cfg = config if isinstance(config, Config) else load_config(str(config))
    data = config_data(cfg)
    with safe_loading(trust=trust):
        loaded = CheckpointLoader.load_checkpoint(str(checkpoint), map_location='cpu')
    content = published(loaded, str(checkpoint), averaged=averaged)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix='.publish-') as beside:
        new = Path(beside, 'folder')
        new.mkdir()
        (new / CONFIG).write_text(to_json(data, indent=2) + '\n', encoding='utf-8')
        write_weights(new / WEIGHTS, content)
        # What cannot be opened is not published; and the classes are those that a reader gets.
        names = class_names(load_folder(new))
        if names and not (content['meta'].get('dataset_meta') or {}).get('classes'):
            (new / WEIGHTS).unlink()
            content['meta']['dataset_meta'] = dict(
                content['meta'].get('dataset_meta') or {}, classes=list(names)
            )
            write_weights(new / WEIGHTS, content)
        card = card_text(name or folder.name, cfg, facts_of(content), measured, license_name)
        (new / CARD).write_text(card, encoding='utf-8')
        refuse_existing('folder', folder)
        os.rename(new, folder)
    return folder


def load_folder(folder: str | Path) -> BaseModel:
    """The model of a folder that :func:`save_pretrained` wrote, on the CPU, ready to predict.

    Nothing in the folder is run: weights are read as safetensors, the config as json, and only registered classes of
    mmlattn, mmpretrain and mmcv are built.

    Raises:
        UserError: If a file is missing, damaged or asks for more, or the weights do not fit.
    """
    config, weights = (Path(folder, name) for name in (CONFIG, WEIGHTS))
    for file in (config, weights):
        if not file.is_file():
            raise UserError(f'{folder} has no {file.name}: give a folder that tools/publish_model.py wrote')
    cfg = config_from_data(_read_config(config), str(config))
    try:
        with safe_loading():
            model = build_model(cfg)
    except Exception as error:  # whatever the classes that it names make of its settings
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(f'{config}: its model cannot be built ({reason:.200}): take another copy') from error
    if not isinstance(model, BaseModel):
        raise UserError(f'{config}: its model is a {type(model).__name__}, which predicts nothing')
    load_trained(model, str(weights))
    return model


def _read_config(file: Path) -> Mapping:
    if file.stat().st_size > _MOST_CONFIG:
        raise UserError(f'{file} is larger than any config: take another copy')
    try:
        return json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise UserError(f'{file} is no json ({error}): take another copy') from error

"""The config that a tool runs: the file, what the flags make of it, and what every run needs."""

import argparse
import difflib
import os
import os.path as osp
import re
import reprlib
import textwrap
import traceback
from collections.abc import Mapping
from inspect import signature
from pathlib import Path

from mmengine.config import Config, ConfigDict

import mmlattn.utils.file_handlers  # noqa: F401  yaml that runs nothing
from mmlattn.utils.arguments import check_folder
from mmlattn.utils.configs import config_names, config_path, payload_dir
from mmlattn.utils.errors import UserError

from .flags import PLACES

#: Settings of a run that are dicts, where they are set.
_DICTS = (
    *(f'{mode}_{part}' for mode in ('train', 'val', 'test') for part in ('cfg', 'dataloader')),
    'optim_wrapper', 'default_hooks', 'data_preprocessor',
)  # fmt: skip


def read_config(args: argparse.Namespace) -> Config:
    """The config of the flags ``config`` and ``--cfg-options``; for tools that neither train nor test."""
    cfg = load_config(args.config)
    apply_options(cfg, args.cfg_options)
    return cfg


def load_config(path: str) -> Config:
    """Read a config file, or one of ours by its name, such as ``csra_r101_coco``.

    Raises:
        UserError: If there is no such file, naming files of similar name, or it is no config or an empty one, or what
            it builds on is missing, or Python stumbles over it.
    """
    if not osp.isfile(path) and path in config_names():
        path = config_path(path)
    if not osp.isfile(path):
        folders = {Path(path).parent, Path('configs'), payload_dir() / 'configs'}
        known = {file.name: file for folder in sorted(folders) for file in sorted(folder.glob('*.py'))}
        near = difflib.get_close_matches(Path(path).name, known, n=3)
        hint = ': did you mean ' + ' or '.join(str(known[name]) for name in near) + '?' if near else ''
        raise UserError(f'there is no config file {path}{hint}')
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'{path} is no config file: expected one that ends in .py')
    try:
        cfg = Config.fromfile(path)
        dict(cfg)  # configs in pure Python import here
    except Exception as error:
        raise UserError(_config_problem(path, error)) from error
    if not cfg:
        raise UserError(
            f'{path} sets nothing: write _base_ = [...], or model = dict(...) and the rest, into it'
        )
    return cfg


def _config_problem(path: str, error: Exception) -> str:
    """What is wrong with a config that cannot be read, in one line, with the file and the line where it is."""
    message = ' '.join(str(error.args[0] if isinstance(error, KeyError) else error).split())
    file = place = path
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == '_file2dict' and osp.exists(frame.f_locals['filename']):
            file = place = os.fspath(frame.f_locals['filename'])
        elif frame.f_code.co_filename == file:
            place = f'{file}, line {line}'
    if isinstance(error, ModuleNotFoundError) and 'mmdet' in message:
        return f'{file} builds on mmdet, which is not installed: bash tools/setup_env.sh --det'
    if isinstance(error, FileNotFoundError):
        missing = error.filename or (re.findall(r'"(.+?)"', message) or [message])[0]
        there = sorted(file.name for file in Path(missing).parent.glob('*.py'))
        near = difflib.get_close_matches(Path(missing).name, there, n=1)
        hint = f'did you mean {near[0]}?' if near else 'paths in _base_ begin at the folder of the config'
        return f'{file} builds on {missing}, which is not there: {hint}'
    if message.startswith('Duplicate key'):
        keys = ', '.join(sorted(re.findall(r"'(\w+)'", message)))
        return f'{file}: two files of its _base_ set {keys}: leave one of them out, or let one build on the other'
    asked = re.search(
        r'could not determine a constructor for the tag \'(?:tag:yaml.org,2002:)?(\S+)\'', message
    )
    if asked:
        return f'{file} asks for {asked[1]}, and yaml here is data that runs nothing: leave the tag out'
    if isinstance(error, RecursionError):
        return f'{file}: it builds on itself: mend _base_'
    if isinstance(error, SyntaxError):
        return f'{file}{f", line {error.lineno}" if error.lineno else ""}: no valid Python: {error.msg}'
    return f'{place} can not be read: {type(error).__name__}: {textwrap.shorten(message, 300)}'


def apply_options(cfg: Config, options: dict) -> None:
    """Write ``--cfg-options`` into the config.

    Raises:
        UserError: If an option does not fit the structure of the config.
    """
    from mmengine.runner import Runner

    known = {*cfg, *signature(Runner).parameters}
    for name in {option.partition('.')[0] for option in options} - known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if near:
            raise UserError(f'--cfg-options: the config has no {name}: did you mean {near[0]}?')
    try:
        cfg.merge_from_dict(options)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f'--cfg-options does not fit the config: {error}') from error


def check_kinds(cfg: Config) -> None:
    """Raises ``UserError`` for settings of a run that should be dicts, and custom hooks that should be a list."""
    for name in _DICTS:
        if not isinstance(cfg.get(name), dict | None):
            raise UserError(f'{name} must be a dict, or None, got {reprlib.repr(cfg[name])}')
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not (
        isinstance(hooks, list | tuple) and all(isinstance(h, dict) for h in hooks)
    ):
        raise UserError(f"custom_hooks must be a list, [dict(type='...'), ...], got {reprlib.repr(hooks)}")


def merge_common(cfg: Config, args: argparse.Namespace) -> None:
    """Write launcher and working directory into the config: flag, else config, else the config's name."""
    check_kinds(cfg)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    missing = [name for name in PLACES.get(args.launcher, {}).values() if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {args.launcher} needs the environment variables {", ".join(missing)}, which that launcher '
            'sets: start with tools/dist_*.sh or tools/slurm_*.sh, or leave --launcher out'
        )
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('./work_dirs', Path(args.config).stem)
    check_folder('--work-dir', cfg.work_dir)
    if args.launcher != 'none':
        add_hook(cfg, 'mmlattn.CollectDirHook')
        add_hook(cfg, 'mmlattn.ShareBuffersHook')


def set_dataloader_defaults(cfg: Config, fields: list[str], args: argparse.Namespace, **defaults) -> None:
    """Give the data loaders named ``fields``, where there are such, mmpretrain's defaults under what the config says.

    ``--no-pin-memory`` and, for training, ``--no-persistent-workers`` stand above both.
    """
    defaults = dict(pin_memory=True, **defaults)
    if cfg.get('default_scope', 'mmpretrain') == 'mmpretrain':
        # Other code bases keep mmengine's own default: detection batches hold images of several sizes.
        defaults['collate_fn'] = dict(type='default_collate')
    forced = dict(pin_memory=False) if args.no_pin_memory else {}
    if getattr(args, 'no_persistent_workers', False):
        forced['persistent_workers'] = False
    for field in fields:
        if cfg.get(field) is not None:
            cfg[field] = ConfigDict({**defaults, **cfg[field], **forced})


def merge_options(cfg: Config, options: dict, fields: list[str]) -> None:
    """Apply ``--cfg-options`` last, and drop what the machine at hand cannot do."""
    from mmengine.device import get_device

    apply_options(cfg, options)
    check_kinds(cfg)
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()  # mmengine's own
    add_hook(cfg, 'mmlattn.ClassNamesHook')
    add_hook(cfg, 'mmlattn.ConfigChecksHook')
    add_hook(cfg, 'mmlattn.FiniteScoresHook')
    watch_pictures(cfg, fields)
    for loader in filter(None, map(cfg.get, fields)):
        if not loader.get('num_workers'):
            loader.persistent_workers = False  # there is nothing to keep; torch makes it an error
        if get_device() == 'cpu':
            loader.pin_memory = False  # pinned for no device; torch warns


def watch_pictures(cfg: Config, fields: list[str]) -> None:
    """Name pictures that cannot be read, or leave them out: ``default_hooks.pictures.on_error=skip``."""
    hook = cfg.default_hooks.setdefault('pictures', ConfigDict())
    if hook is None:
        return
    hook.setdefault('type', 'mmlattn.UnreadablePicturesHook')
    if hook.get('on_error') == 'skip' and cfg.get('launcher', 'none') != 'none':
        for loader in [cfg.get(field) for field in fields if field != 'train_dataloader']:
            # Pictures shown twice, so that all processes have as many, could not be told from others in the metrics.
            if loader is not None and type_name(loader.get('sampler') or {}) == 'DefaultSampler':
                loader.sampler.round_up = False


def make_reproducible(cfg: Config) -> None:
    """Make training a function of the seed: wrap the data, number the stream, add the hook.

    What the config already has stays as it is, so the config a run dumps can be used again.
    """
    loader = cfg.get('train_dataloader')
    if loader is None or cfg.get('train_cfg') is None:
        return  # the Runner says what is missing
    add_hook(cfg, 'mmlattn.ReproducibilityHook')
    if type_name(loader.dataset) != 'SeededDataset':
        loader.dataset = ConfigDict(type='mmlattn.SeededDataset', dataset=loader.dataset)
    loop = cfg.train_cfg
    if not loop.get('by_epoch', True) or type_name(loop) == 'IterBasedTrainLoop':
        loop.pop('by_epoch', None)
        loop.type = 'mmlattn.StreamTrainLoop'
        # mmengine would restart DefaultSampler at its end; an endless one gives the same visits to each image.
        if type_name(loader.sampler) in ('InfiniteSampler', 'DefaultSampler'):
            loader.sampler.type = 'mmlattn.StreamSampler'
            loader.sampler.pop('round_up', None)
    elif type_name(loop) in ('', 'EpochBasedTrainLoop'):
        loop.pop('by_epoch', None)
        loop.type = 'mmlattn.ResumableEpochLoop'


def keep_checkpoints_safe(cfg: Config) -> None:
    """Let our hook save checkpoints in the place of mmengine's, which a kill can leave without any.

    At SIGTERM, too, but none of a model that has diverged.
    """
    if 'CheckpointChecksHook' not in map(type_name, cfg.get('custom_hooks') or []):
        # First, for what is wrong must be said before another hook stumbles over it.
        cfg.custom_hooks = [dict(type='mmlattn.CheckpointChecksHook'), *(cfg.get('custom_hooks') or [])]
    add_hook(cfg, 'mmlattn.StopSignalHook')
    add_hook(cfg, 'mmlattn.FiniteLossHook')
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    hook = hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook'))
    if hook is not None and type_name(hook) == 'CheckpointHook':
        hook.type = 'mmlattn.SafeCheckpointHook'


def preprocessor_of(cfg: Config) -> dict:
    """``data_preprocessor`` of the model or else, as mmengine takes it then, of the config."""
    return dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})


def dataset_of(cfg: Mapping, split: str = 'test') -> Mapping:
    """The config of a split's data set, empty where there is none."""
    return (cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}


def type_name(cfg: dict) -> str:
    """Name of the class that a config builds, without its scope."""
    kind = cfg.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def add_hook(cfg: Config, kind: str) -> None:
    """Add a hook of ours to ``custom_hooks``, unless it is there."""
    hooks = list(cfg.get('custom_hooks') or [])
    if kind.rpartition('.')[2] not in map(type_name, hooks):
        cfg.custom_hooks = [*hooks, dict(type=kind)]


def drop_hook(cfg: Config, kind: str) -> list[dict]:
    """Take the hooks of a class, of whatever scope, out of ``custom_hooks``, and return them."""
    hooks = list(cfg.get('custom_hooks') or [])
    dropped = [hook for hook in hooks if type_name(hook) == kind]
    if dropped:
        cfg.custom_hooks = [hook for hook in hooks if hook not in dropped]
    return dropped

"""What the training and test tools share: flags, config defaults, processes, readable errors.

Nothing heavy is imported at the top, so that ``-h`` answers at once.
"""

import argparse
import ast
import difflib
import os
import os.path as osp
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.config import DictAction as _DictAction

from .errors import UserError

__all__ = [
    'DictAction', 'add_cfg_options', 'add_common_arguments', 'add_hook', 'apply_options', 'build_runner',
    'drop_hook', 'explain_config', 'explain_missing_data', 'load_config', 'make_reproducible',
    'merge_common', 'merge_options', 'process_group', 'run_tool', 'set_dataloader_defaults',
]  # fmt: skip

# How each launcher tells a process its place.
_PLACE = {
    'pytorch': {},
    'slurm': {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'},
    'mpi': {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
    },
}


class DictAction(_DictAction):
    """mmengine's ``key=value`` pairs; a single value, such as a path, keeps its spaces, and dicts are Python's."""

    @staticmethod
    def _parse_iterable(val: str) -> object:
        if val.startswith(('{', '[{', '({')):  # mmengine's own would cut dicts at their commas
            try:
                return ast.literal_eval(val)
            except (SyntaxError, ValueError) as error:
                raise AssertionError(f"expected dicts as in [{{'type': 'A', 'k': 1}}], got {val}") from error
        plain = val.strip('\'"')
        if ',' in plain or plain.startswith(('(', '[')):
            return _DictAction._parse_iterable(val)
        return _DictAction._parse_int_float_bool(plain)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Collect the pairs; what is none ends the program with one line."""
        for pair in values:
            if not pair.partition('=')[0] or '=' not in pair:
                raise argparse.ArgumentError(self, f'expected key=value, got {pair!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            raise argparse.ArgumentError(self, str(error)) from error


def add_cfg_options(
    parser: argparse.ArgumentParser, description: str = 'settings to override, as key=value'
) -> None:
    """Add ``--cfg-options`` as the tools that neither train nor test have it; :func:`apply_options` takes it."""
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, help=description)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share, with mmpretrain's meanings, and ``--trust-checkpoint``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs such as optim_wrapper.optimizer.lr=0.01; a list is '
        'key="[a,b]" or key=a,b; nested lists and tuples as in key="[(a,b),(c,d)]" need the quotation '
        'marks; white space is kept outside lists only; dicts are written as in '
        "key=\"[{'type': 'A', 'k': 1}]\"",
    )
    parser.add_argument('--no-pin-memory', action='store_true', help='turn off pin_memory in data loaders')
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='open checkpoints that hold more than weights; they can run any code on your machine',
    )
    parser.add_argument(
        '--launcher', choices=['none', *_PLACE], default='none', help='what starts the processes of this job'
    )
    # torch.distributed.launch spells it with a hyphen since torch 2.0, with an underscore before.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UserError: If there is no such file, naming files of similar name, or it is no config, or it builds on mmdet
            and that is missing.
    """
    if not osp.isfile(path):
        folders = {Path(path).parent, Path('configs'), Path(__file__).parents[1] / '.mim' / 'configs'}
        known = {file.name: file for folder in sorted(folders) for file in sorted(folder.glob('*.py'))}
        near = difflib.get_close_matches(Path(path).name, known, n=3)
        hint = ': did you mean ' + ' or '.join(str(known[name]) for name in near) + '?' if near else ''
        raise UserError(f'there is no config file {path}{hint}')
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise UserError(f'{path} is no config file: expected one that ends in .py')
    try:
        return Config.fromfile(path)
    except ModuleNotFoundError as error:
        if 'mmdet' not in str(error):
            raise
        raise UserError(
            f'{path} builds on mmdet, which is not installed: bash tools/setup_env.sh --det'
        ) from error


def apply_options(cfg: Config, options: dict | None) -> None:
    """Write ``--cfg-options`` into the config.

    Raises:
        UserError: If an option does not fit the structure of the config.
    """
    try:
        cfg.merge_from_dict(options or {})
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f'--cfg-options does not fit the config: {error}') from error


def merge_common(cfg: Config, args: argparse.Namespace) -> None:
    """Write launcher and working directory into the config: flag, else config, else the config's name."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    needed = _PLACE.get(args.launcher, {}).values() or ('RANK', 'WORLD_SIZE')
    missing = [name for name in needed if name not in os.environ]
    if args.launcher != 'none' and missing:
        raise UserError(
            f'--launcher {args.launcher} needs the environment variables {", ".join(missing)}, which that launcher '
            'sets: start with tools/dist_*.sh or tools/slurm_*.sh, or leave --launcher out'
        )
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('./work_dirs', Path(args.config).stem)
    dumped = osp.join(cfg.work_dir, osp.basename(args.config))
    if osp.exists(dumped) and osp.samefile(dumped, args.config):
        raise UserError(
            f'the working directory {cfg.work_dir} holds the config {args.config} itself, which the dump of this '
            'run would overwrite: give another --work-dir'
        )
    if args.launcher != 'none':
        add_hook(cfg, 'mmlattn.CollectDirHook')


def set_dataloader_defaults(cfg: Config, fields: list[str], args: argparse.Namespace, **defaults) -> None:
    """Give data loaders mmpretrain's defaults, under what the config says.

    Args:
        cfg (Config): The config, changed in place.
        fields (list[str]): Names of the data loaders; absent ones are passed over.
        args (Namespace): With ``no_pin_memory`` and, for training, ``no_persistent_workers``.
        **defaults: Further defaults.
    """
    defaults = dict(pin_memory=True, **defaults)
    if cfg.get('default_scope', 'mmpretrain') == 'mmpretrain':
        # Other code bases keep mmengine's own default: detection batches hold images of several sizes.
        defaults['collate_fn'] = dict(type='default_collate')
    forced = {'pin_memory': args.no_pin_memory}
    forced['persistent_workers'] = getattr(args, 'no_persistent_workers', False)
    for field in fields:
        if cfg.get(field) is not None:
            off = {name: False for name, is_off in forced.items() if is_off}
            cfg[field] = ConfigDict({**defaults, **cfg[field], **off})


def merge_options(cfg: Config, options: dict | None, fields: list[str]) -> None:
    """Apply ``--cfg-options`` last, and drop what the machine at hand cannot do."""
    from mmengine.device import get_device

    apply_options(cfg, options)
    add_hook(cfg, 'mmlattn.ClassNamesHook')  # a config that replaces custom_hooks drops it unawares
    for loader in filter(None, map(cfg.get, fields)):
        if not loader.get('num_workers'):
            loader.persistent_workers = False  # there is nothing to keep; torch makes it an error
        if get_device() == 'cpu':
            loader.pin_memory = False  # pinned for no device; torch warns


def make_reproducible(cfg: Config) -> None:
    """Make training a function of the seed: wrap the data, number the stream, add the hook.

    What the config already has stays as it is, so the config a run dumps can be used again.
    """
    loader = cfg.get('train_dataloader')
    if loader is None:
        return
    add_hook(cfg, 'mmlattn.ReproducibilityHook')
    if _type_name(loader.dataset) != 'SeededDataset':
        loader.dataset = ConfigDict(type='mmlattn.SeededDataset', dataset=loader.dataset)
    loop = cfg.train_cfg
    if not loop.get('by_epoch', True) or _type_name(loop) == 'IterBasedTrainLoop':
        loop.pop('by_epoch', None)
        loop.type = 'mmlattn.StreamTrainLoop'
        # mmengine would restart DefaultSampler at its end; an endless one gives the same visits to each image.
        if _type_name(loader.sampler) in ('InfiniteSampler', 'DefaultSampler'):
            loader.sampler.type = 'mmlattn.StreamSampler'
            loader.sampler.pop('round_up', None)


def _type_name(cfg: dict) -> str:
    """Name of the class a config builds, without its scope."""
    kind = cfg.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]


def add_hook(cfg: Config, kind: str) -> None:
    """Add a hook of ours to ``custom_hooks``, unless it is there."""
    hooks = list(cfg.get('custom_hooks') or [])
    if kind.rsplit('.', 1)[-1] not in map(_type_name, hooks):
        cfg.custom_hooks = [*hooks, dict(type=kind)]


def drop_hook(cfg: Config, kind: str) -> list[dict]:
    """Take the hooks of a class, of whatever scope, out of ``custom_hooks``; returns them."""
    hooks = list(cfg.get('custom_hooks') or [])
    dropped = [hook for hook in hooks if _type_name(hook) == kind]
    if dropped:
        cfg.custom_hooks = [hook for hook in hooks if hook not in dropped]
    return dropped


@contextmanager
def process_group(cfg: Config) -> Iterator[None]:
    """Join the other processes over gloo where there is no GPU; elsewhere the Runner does it.

    mmengine sets up processes for GPUs only, so on CPU both the group and a model wrapper without device ids
    must be there before the Runner. Settings of the user's own ``model_wrapper_cfg`` are kept.
    """
    from mmengine.device import get_device

    if cfg.launcher == 'none' or get_device() != 'cpu':
        yield
        return
    import torch.distributed

    os.environ.update({name: os.environ[source] for name, source in _PLACE[cfg.launcher].items()})
    if cfg.launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.check_output(
            ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], text=True
        )
        os.environ['MASTER_ADDR'] = hosts.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**(cfg.get('model_wrapper_cfg') or wrapper), 'device_ids': None}
    seconds = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout', 1800)
    torch.distributed.init_process_group('gloo', timeout=timedelta(seconds=seconds))
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def build_runner(cfg: Config, *loops: str):
    """Build mmengine's Runner, or the one ``runner_type`` names, with what it would build later.

    Args:
        cfg (Config): Of the run.
        *loops (str): 'train_loop', 'val_loop' or 'test_loop', to be built now, with their data and metrics.

    Raises:
        UserError: If a setting of the config does not work.
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    with explain_config():
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        for loop in loops:
            getattr(runner, loop)
    return runner


@contextmanager
def explain_config(where: str = '') -> Iterator[None]:
    """Whatever a setting makes the building from a config stumble over is for the one who wrote it.

    Raises:
        UserError: With the first line of the message.
    """
    try:
        yield
    except UserError:
        raise
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        message = str(error.args[0] if error.args else type(error).__name__).partition('\n')[0]
        named = f'{type(error).__name__}: ' if isinstance(error, KeyError) else ''
        raise UserError(f'this config does not work{where}: {named}{" ".join(message.split())}') from error


@contextmanager
def explain_missing_data(cfg: Config, splits: Sequence[str] = ('train', 'val', 'test')) -> Iterator[None]:
    """Say which settings of the config name a file or folder that is not there.

    Args:
        cfg (Config): With data loaders and evaluators.
        splits (Sequence[str]): Which of ``'train'``, ``'val'`` and ``'test'`` the tool reads.

    Raises:
        UserError: In place of a ``FileNotFoundError`` under one of the config's data folders, and of what a data set
            says that missed its files without naming them.
    """
    try:
        yield
    except (FileNotFoundError, UserError) as error:
        paths = list(_data_paths(cfg, splits))
        # mmpretrain's StanfordCars raises a RuntimeError, which explain_config has made a UserError of.
        unnamed = isinstance(error.__cause__, RuntimeError)
        if isinstance(error, UserError) and not unnamed:
            raise
        for key, path in paths:
            if not osp.exists(path) if unnamed else path in str(error):
                state = 'exists' if osp.exists(path) else 'does not exist'
                concerned = [
                    osp.join(f'{other}=...', osp.relpath(place, path)).removesuffix('/.')
                    for other, place in paths
                    if Path(place).is_relative_to(path)
                ]
                raise UserError(
                    f'data are missing: {str(error).rstrip(".")}. {key}={path!r} {state}; '
                    f'point to yours with --cfg-options {" ".join(concerned)}'
                ) from error
        raise


def _data_paths(cfg: Config, splits: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every folder of data and every metric's file of annotations, with the key a user would type."""
    for split in splits:
        yield from _data_roots(
            (cfg.get(f'{split}_dataloader') or {}).get('dataset'), f'{split}_dataloader.dataset'
        )
    for key in (f'{split}_evaluator' for split in splits):
        metrics = cfg.get(key) or []
        numbered = enumerate(metrics) if isinstance(metrics, (list, tuple)) else [(None, metrics)]
        for number, metric in numbered:
            if isinstance(metric.get('ann_file'), str):
                yield f'{key}.ann_file' if number is None else f'{key}.{number}.ann_file', metric['ann_file']


def _data_roots(dataset: object, key: str) -> Iterator[tuple[str, str]]:
    """Every ``data_root`` in the config of a data set, with the key a user would type."""
    if isinstance(dataset, dict):
        if isinstance(dataset.get('data_root'), str) and dataset['data_root']:
            yield f'{key}.data_root', dataset['data_root']
        for name, value in dataset.items():
            yield from _data_roots(value, key if _type_name(dataset) == 'SeededDataset' else f'{key}.{name}')
    elif isinstance(dataset, (list, tuple)):
        for number, value in enumerate(dataset):
            yield from _data_roots(value, f'{key}.{number}')


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; end with exit status 1 and the message alone where the user can put things right."""
    try:
        main()
    except UserError as error:
        # One message per machine, not one per process.
        if int(os.environ.get('LOCAL_RANK', 0)) == 0:
            print(f'error: {error}', file=sys.stderr)
        sys.exit(1)

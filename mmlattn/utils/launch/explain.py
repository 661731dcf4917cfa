"""What a user can put right ends in one line; everything else keeps its traceback."""

import io
import os
import os.path as osp
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from mmlattn.utils.errors import UserError

from .config import type_name
from .messages import MISTAKES, built_class, causes, one_line


def run_tool(main: Callable[[], None]) -> None:
    """Run a tool; end with exit status 1 and the message alone where the user can put things right.

    ``MMLATTN_TRACEBACK=1`` in the environment shows where in the code it was.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # names that the terminal has no letters for
    try:
        main()
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not _output_is_unread():
            raise
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno()
        )  # for what Python flushes at its end
        _say(f'error: {error.strerror}: what read the output has ended: write it to a file, > FILE')
        sys.exit(1)
    except KeyboardInterrupt as error:
        # SIGINT, as of Ctrl-C.
        _say('interrupted' + ''.join(f'; {part}' for part in error.args))
        sys.exit(130)
    except UserError as error:
        if os.environ.get('MMLATTN_TRACEBACK'):
            raise
        _say(f'error: {error}', first=getattr(error, 'first_of_all', False))
        sys.exit(1)


def _output_is_unread() -> bool:
    """Whether the output goes into a pipe that nothing reads any more, as ``head`` leaves it."""
    poll = select.poll()
    poll.register(sys.__stdout__, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _say(message: str, first: bool = False) -> None:
    """One message per machine, not one per process, unless this process is the first to fail."""
    if first or int(os.environ.get('LOCAL_RANK', 0)) == 0:
        print(message, file=sys.stderr)


@contextmanager
def keeping_interrupts() -> Iterator[None]:
    """Let Ctrl-C stay what it is where a library catches everything and raises an error of its own.

    mmengine does so while it formats a config, which each saving of a checkpoint does anew.
    """
    try:
        yield
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
        raise


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
    except MISTAKES as error:
        line = one_line(error, built_class(error) or '')
        raise UserError(f'this config does not work{where}: {line}') from error


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
        # mmpretrain's StanfordCars raises a RuntimeError, which explain_config has made a UserError of.
        built = str(error).startswith('this config does not work: ')
        unnamed = built and isinstance(error.__cause__, RuntimeError)
        if isinstance(error, UserError) and not unnamed:
            raise
        paths = [
            found
            for part, name in (('dataloader', 'data_root'), ('evaluator', 'ann_file'))
            for split in splits
            for found in _paths(cfg.get(f'{split}_{part}'), f'{split}_{part}', name)
        ]
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


def _paths(part: object, key: str, name: str) -> Iterator[tuple[str, str]]:
    """Every setting of that name in a part of a config, by the key a user would type, and its value."""
    if isinstance(part, dict):
        if isinstance(part.get(name), str) and part[name]:
            yield f'{key}.{name}', part[name]
        added_by_us = type_name(part) == 'SeededDataset'
        for inner, value in part.items():
            yield from _paths(value, key if added_by_us else f'{key}.{inner}', name)
    elif isinstance(part, (list, tuple)):
        for number, value in enumerate(part):
            yield from _paths(value, f'{key}.{number}', name)

"""Checks of arguments that say what came, what was expected and what to change."""

import math
import os
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path

from .errors import UserError


def check_choice(name: str, value, known) -> None:
    """Raises ``UserError`` for a value that is not among the names known."""
    if not isinstance(value, str) or value not in known:
        raise UserError(f'{name} must be one of {", ".join(map(repr, known))}, got {value!r}')


def check_whole(name: str, value, least: int) -> None:
    """Raises ``UserError`` for anything but a whole number of at least ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise UserError(f'{name} must be a whole number of {least} or more, got {value!r}')


def check_number(name: str, value, least: float = -math.inf, most: float = math.inf) -> None:
    """Raises ``UserError`` for anything but a finite number from ``least`` to ``most``."""
    if not isinstance(value, Real) or not math.isfinite(value) or not least <= value <= most:
        bound = '' if least == -math.inf else f' of {least} or more'
        wanted = f'be a finite number{bound}' if most == math.inf else f'lie in [{least}, {most}]'
        raise UserError(f'{name} must {wanted}, got {value!r}')


def complete_options(name: str, given, defaults: Mapping) -> dict:
    """Options with those not given filled in.

    Raises:
        UserError: For anything but a mapping with keys of ``defaults``.
    """
    if not isinstance(given, Mapping) or given.keys() - defaults.keys():
        raise UserError(f'{name} must be a dict with some of {", ".join(defaults)}, got {given!r}')
    return dict(defaults) | dict(given)


def whole_numbers(name: str, values, least: int) -> tuple[int, ...]:
    """A sequence, or one number, as a tuple.

    Raises:
        UserError: If it is empty, or has anything but whole numbers of at least ``least``.
    """
    numbers = (values,) if isinstance(values, Integral) else values
    wrong = isinstance(numbers, (str, Mapping)) or not hasattr(numbers, '__iter__') or not numbers
    if wrong or not all(isinstance(n, Integral) and not isinstance(n, bool) and n >= least for n in numbers):
        raise UserError(f'{name} takes whole numbers of {least} or more, got {values!r}')
    return tuple(int(n) for n in numbers)


def refuse_existing(name: str, path: str | os.PathLike) -> None:
    """Raises ``UserError`` if something is at a path, be it a link to nowhere; ``name`` is what the user calls it."""
    if os.path.lexists(path):
        raise UserError(f'{path} exists and is not overwritten; give another {name}')


def refuse_npz(path: str | os.PathLike) -> None:
    """Raises ``UserError`` for the name of a file of arrays, where a checkpoint is written."""
    if Path(path).suffix == '.npz':
        raise UserError(f'{path}: what is written is no .npz; name it .pth or .safetensors')


def check_folder(name: str, folder) -> None:
    """Raises ``UserError`` for what is no path of a folder that can be made, if need be, and written into."""
    if not isinstance(folder, str | os.PathLike) or not str(folder).strip() or '\0' in str(folder):
        raise UserError(f'{name} must be the path of a folder, got {folder!r}')
    there = next((part for part in (Path(folder), *Path(folder).parents) if os.path.lexists(part)), Path())
    if not there.is_dir():
        raise UserError(f'{name} {folder}: {there} is a file, or a link to nowhere: name a folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'{name} {folder}: nothing may be written into {there}: name another folder')

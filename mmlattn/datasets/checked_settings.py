"""Settings that mmpretrain's data sets take without a word and then do not use, or read in another way than meant."""

import os
from collections.abc import Iterable, Mapping
from inspect import signature
from typing import Any

from mmlattn.utils.errors import UserError

from .annotation_files import read_class_list

# As they look in small letters without underscores.
_MEANT_CLASSES = {'classes', 'class', 'classnames', 'names'}


class CheckedSettings:
    """Comes before the data set of mmpretrain that a class derives from, and checks its settings.

    ``classes`` and ``metainfo.classes`` are a list of names or the path of a text file with one a line.
    ``classes_from_config`` tells whether there are any.
    """

    classes_from_config = False

    def __init__(self, *args, **kwargs) -> None:
        given = dict(zip(signature(super().__init__).parameters, args, strict=False)) | kwargs
        for name in ('ann_file', 'data_root', 'image_set_path'):
            if name in given:
                _check_path(name, given[name], optional=name != 'ann_file')
        super().__init__(*args, **kwargs)

    def _compat_classes(self, metainfo: Mapping | None, classes: Any) -> dict:
        if not isinstance(metainfo, Mapping | None):
            raise UserError(f'metainfo must be a dict such as dict(classes=[...]), got {metainfo!r}')
        metainfo = dict(metainfo or {})
        check_class_key(metainfo, 'metainfo')
        named = [read_names(value) for value in (classes, metainfo.get('classes')) if value is not None]
        if len(named) == 2 and named[0] != named[1]:
            raise UserError(f'classes are {named[0]} but metainfo.classes {named[1]}: give one of them')
        if named:
            self.classes_from_config = True
            metainfo['classes'] = named[0]
        return metainfo

    def _join_prefix(self) -> None:
        prefix = self.data_prefix
        if isinstance(prefix, os.PathLike):
            prefix = dict(img_path=prefix)
        if not isinstance(prefix, Mapping) or 'img_path' not in prefix:
            folders = prefix.values() if isinstance(prefix, Mapping) else prefix
            folders = folders if isinstance(folders, Iterable) else ()
            folder = next(
                (value for value in folders if isinstance(value, str)), 'the folder with the pictures'
            )
            raise UserError(
                f'data_prefix must have img_path, got {prefix!r}: write data_prefix=dict(img_path={folder!r})'
            )
        for key, folder in prefix.items():
            if not isinstance(folder, str | os.PathLike):
                raise UserError(f'data_prefix: {key} must be the path of a folder, got {folder!r}')
        self.data_prefix = {key: os.fspath(folder) for key, folder in prefix.items()}
        super()._join_prefix()


def _check_path(name: str, path: Any, optional: bool) -> None:
    if path is None and optional:
        return
    if not isinstance(path, str | os.PathLike) or '\0' in os.fspath(path):
        raise UserError(f'{name} must be the path of a file or folder, got {path!r}')


def check_class_key(metainfo: Mapping, where: str) -> None:
    """Refuse names of the classes under any other key than ``classes``."""
    for key in metainfo:
        if key != 'classes' and str(key).replace('_', '').casefold() in _MEANT_CLASSES:
            raise UserError(f'{where} has {key}, which is not read: write classes, in small letters')


def refuse_filter_cfg(settings: Mapping) -> None:
    """Refuse mmengine's ``filter_cfg`` where ``filter_empty`` is in its place."""
    if settings.get('filter_cfg'):
        raise UserError(f'use filter_empty=True instead of filter_cfg={settings["filter_cfg"]}')


def read_names(classes: Any) -> Any:
    """The names in a list, where there is one under that path; anything else as it is, to be checked at loading."""
    if isinstance(classes, str | os.PathLike):
        path = os.path.expanduser(classes)
        return read_class_list(path) if os.path.isfile(path) else os.fspath(classes)
    return tuple(classes) if isinstance(classes, list | tuple) else classes

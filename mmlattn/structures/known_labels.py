"""Rules for all pictures and what is known of single ones, as a json or a mapping says it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch
from mmpretrain.structures import DataSample

from mmlattn.utils.errors import UserError

from .label_rules import LabelRules, check_keys, check_label_rules, read_label_rules

__all__ = ['KnownLabels', 'read_known_labels', 'set_known_labels']

OF_ONE_PICTURE = ('present', 'absent', 'count')


@dataclass(frozen=True)
class KnownLabels:
    """What is known of the labels of pictures.

    Args:
        rules (LabelRules): For all pictures.
        images (Mapping[str, LabelRules]): For single ones, ``rules`` included, by the end of their path.
        source (str): What messages call it.
    """

    rules: LabelRules
    images: Mapping[str, LabelRules] = field(default_factory=dict)
    source: str = 'constraints'

    def match(self, paths: Iterable[str]) -> tuple[dict[str, LabelRules], str]:
        """Find the pictures that ``images`` names: by the path, or any part of it that ends with the file name.

        Args:
            paths (Iterable[str]): Of all pictures of a run.

        Returns:
            tuple[dict[str, LabelRules], str]: The rules by path for each picture named, and a line about those names
            that fit none, '' if they all do.

        Raises:
            UserError: If a key fits several pictures, or several keys fit one.
        """
        keys, pictures = {_parts(key): key for key in self.images}, {}
        for path in dict.fromkeys(paths):
            parts = _parts(path)
            fitting = [keys[end] for start in range(len(parts)) if (end := parts[start:]) in keys]
            if len(fitting) > 1:
                raise UserError(f'{self.source}: {" and ".join(map(repr, fitting))} both fit {path}')
            for key in fitting:
                if key in pictures:
                    raise UserError(
                        f'{self.source}: {key!r} fits {pictures[key]} and {path}; give more of the path'
                    )
                pictures[key] = path
        unused = [key for key in self.images if key not in pictures]
        named = ', '.join(unused[:3]) + (' ...' if len(unused) > 3 else '')
        told = f'{self.source}: {len(unused)} of {len(self.images)} images fit no picture: {named}'
        return {path: self.images[key] for key, path in pictures.items()}, told if unused else ''


def read_known_labels(
    content: Mapping | str | Path,
    num_labels: int,
    classes: Sequence[str] | None = None,
    base: LabelRules | None = None,
) -> KnownLabels:
    """Read constraints.

    Args:
        content (Mapping | str | Path): A json file, or what it holds: rules for all pictures as
            :func:`read_label_rules` takes them; or such ``rules`` and ``images``, which gives ``present``, ``absent``
            and ``count`` of single pictures by file name or path. For such a picture both hold, but for the count,
            where its own takes the place of that for all.
        num_labels (int): C.
        classes (Sequence[str], optional): Class names; without them labels are indices.
        base (LabelRules, optional): Rules that hold already.

    Raises:
        UserError: For a file that is none, or anything in it that is not understood or cannot be.
    """
    source = 'constraints'
    if not isinstance(content, (Mapping, str, Path)):
        raise UserError(
            f"constraints must be a dict such as dict(present=['person']), or the path of a json, got {content!r}"
        )
    if not isinstance(content, Mapping):
        source, content = str(content), _read_json(content)
    split = isinstance(content, Mapping) and content.keys() & {'rules', 'images'}
    if split:
        check_keys(content, ('rules', 'images'), source)
    images = content.get('images', {}) if split else {}
    if not isinstance(images, Mapping):
        raise UserError(f'{source}: images must give what is known by file name, got {images!r}')
    own = content.get('rules', {}) if split else content
    where = f'{source}: rules' if split else source
    rules = read_label_rules(own, num_labels, classes, where)
    if base is not None:
        rules = base.merge(rules)
        check_label_rules(rules, num_labels, classes, f'{where}, with those of the config')
    known = {}
    for key, entry in images.items():
        where = f'{source}: images[{key!r}]'
        check_keys(entry, OF_ONE_PICTURE, where)
        known[key] = rules.merge(read_label_rules(entry, num_labels, classes, where))
        check_label_rules(known[key], num_labels, classes, f'{where}, with the rules for all')
    if twice := [key for key, times in Counter(map(_parts, images)).items() if times > 1]:
        raise UserError(f'{source}: images names {"/".join(twice[0])} twice')
    return KnownLabels(rules, known, source)


def set_known_labels(sample: DataSample, rules: LabelRules) -> None:
    """Write what is known of a picture to its data sample, for the head that decodes.

    Args:
        sample (DataSample): Gets ``label_present`` (n,) and ``label_absent`` (m,), long, and ``label_count``, an int,
            where there are any.
        rules (LabelRules): Of the picture.
    """
    for name in ('present', 'absent'):
        if labels := getattr(rules, name):
            sample.set_field(torch.tensor(labels), f'label_{name}')
    if rules.count is not None:
        sample.set_field(int(rules.count), 'label_count')


def _read_json(file: str | Path) -> Mapping:
    try:
        return json.loads(Path(file).read_text(encoding='utf-8'), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise UserError(f'cannot read the constraints {file}: {error.strerror}') from error
    except UserError as error:
        raise UserError(f'{file}: {error}') from error
    except ValueError as error:
        raise UserError(f'{file} is no json file: {error}') from error


def _without_doubles(pairs: Sequence[tuple]) -> dict:
    twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
    if twice:
        raise UserError(f'{twice[0]!r} is there twice')
    return dict(pairs)


def _parts(path: str) -> tuple[str, ...]:
    return PurePosixPath(str(path).replace('\\', '/')).parts

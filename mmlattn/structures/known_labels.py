"""What is known of the labels of pictures, from a person's json or mapping to the tensors that a decoder gets.

:func:`read_known_labels` reads rules for all pictures and for single ones, :meth:`KnownLabels.match` finds those,
:func:`set_known_labels` writes what is known of a picture to its data sample, and :func:`known_label_tensors` reads
it there.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmlattn.utils.errors import UserError

from .label_rules import LabelRules, check_keys, check_label_rules, label_mask, read_label_rules
from .labels import listed_labels

OF_ONE_PICTURE = ('present', 'absent', 'count')


@dataclass(frozen=True)
class KnownLabels:
    """What is known of the labels of pictures."""

    rules: LabelRules
    """For all pictures."""
    images: Mapping[str, LabelRules]
    """For single ones, ``rules`` included, by the end of their path."""
    source: str
    """What messages call it."""

    def match(self, paths: Iterable[str]) -> tuple[dict[str, LabelRules], str]:
        """Find the pictures that ``images`` names: by the path, or any part of it that ends with the file name.

        Returns:
            tuple[dict[str, LabelRules], str]: The rules by path for each picture named, and a line about those names
            that fit none of the ``paths``, '' if they all do.

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
        line = f'{self.source}: {len(unused)} of {len(self.images)} images fit no picture: {named}'
        return {path: self.images[key] for key, path in pictures.items()}, line if unused else ''


def read_known_labels(
    content: Mapping | str | Path,
    num_classes: int,
    classes: Sequence[str] | None = None,
    base: LabelRules | None = None,
) -> KnownLabels:
    """Read constraints.

    Args:
        content (Mapping | str | Path): A json file, or what it holds: rules for all pictures as
            :func:`read_label_rules` takes them; or such ``rules`` and ``images``, which gives ``present``, ``absent``
            and ``count`` of single pictures by file name or path. For such a picture both hold, but for the count,
            where its own takes the place of that for all.
        num_classes (int): C.
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
    if isinstance(content, Mapping) and content.keys() & {'rules', 'images'}:
        check_keys(content, ('rules', 'images'), source)
        general, images, where = content.get('rules', {}), content.get('images', {}), f'{source}: rules'
    else:
        general, images, where = content, {}, source
    if not isinstance(images, Mapping):
        raise UserError(f'{source}: images must give what is known by file name, got {images!r}')
    rules = read_label_rules(general, num_classes, classes, where)
    if base is not None:
        rules = base.merge(rules)
        check_label_rules(rules, num_classes, classes, f'{where}, with those of the config')
    by_image = {}
    for key, entry in images.items():
        where = f'{source}: images[{key!r}]'
        check_keys(entry, OF_ONE_PICTURE, where)
        by_image[key] = rules.merge(read_label_rules(entry, num_classes, classes, where))
        check_label_rules(by_image[key], num_classes, classes, f'{where}, with the rules for all')
    if twice := [key for key, times in Counter(map(_parts, images)).items() if times > 1]:
        raise UserError(f'{source}: images names {"/".join(twice[0])} twice')
    return KnownLabels(rules, by_image, source)


def set_known_labels(sample: DataSample, rules: LabelRules) -> None:
    """Write the rules of a picture to its data sample, for the head that decodes.

    It gets ``label_present`` (n,) and ``label_absent`` (m,), long, and ``label_count``, an int, where there are any.
    """
    for name in ('present', 'absent'):
        if labels := getattr(rules, name):
            sample.set_field(torch.tensor(labels), f'label_{name}')
    if rules.count is not None:
        sample.set_field(int(rules.count), 'label_count')


def known_label_tensors(
    data_samples: Sequence[DataSample], num_classes: int, rules: LabelRules | None = None
) -> tuple[Tensor, ...] | None:
    """Merge what :func:`set_known_labels` wrote to each of B samples, if anything, into the rules for all.

    Returns:
        tuple[Tensor, ...] | None: ``present`` and ``absent`` (B, C) bool, ``exclusive`` and ``parents`` (C, C) bool
        as of :meth:`LabelRules.tensors`, and ``count`` (B,) long, -1 where it is not known. None if nothing is known.

    Raises:
        UserError: For a label or a number of labels that C labels do not have.
    """
    if rules is None and not any(f'label_{name}' in s for s in data_samples for name in OF_ONE_PICTURE):
        return None
    rules = rules or LabelRules()
    merged = [rules.merge(_read_sample(sample, num_classes)) for sample in data_samples]
    present = torch.stack([label_mask(m.present, num_classes) for m in merged])
    absent = torch.stack([label_mask(m.absent, num_classes) for m in merged])
    count = torch.tensor([-1 if m.count is None else m.count for m in merged])
    return present, absent, *rules.tensors(num_classes), count


def _read_sample(sample: DataSample, num_classes: int) -> LabelRules:
    """The inverse of :func:`set_known_labels`."""
    rules = {
        name: tuple(listed_labels([sample], num_classes, f'label_{name}')[0].tolist())
        for name in ('present', 'absent')
        if f'label_{name}' in sample
    }
    if (count := sample.get('label_count')) is not None:
        if int(count) != count or not 0 <= count <= num_classes:
            raise UserError(f'label_count must be a whole number of 0 to {num_classes}, got {count}')
        rules['count'] = int(count)
    return LabelRules(**rules)


def _read_json(file: str | Path) -> Mapping:
    try:
        return json.loads(Path(file).read_text(encoding='utf-8-sig'), object_pairs_hook=_without_doubles)
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

"""The split of each picture: as the labels say it, or drawn; and what is worth knowing about it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmlattn.datasets.annotation_files import some
from mmlattn.datasets.label_files.records import SPLIT_NAMES
from mmlattn.utils.errors import UserError

from .splitting import SPLITS, split_pictures, units_of
from .summary import torn

# Shares of train, val and test by the number of pictures: thresholds are chosen on val, so it must not be tiny.
_SHARES = {200: np.array([0.8, 0.1, 0.1]), 0: np.array([0.6, 0.2, 0.2])}


def default_shares(num_pictures: int) -> np.ndarray:
    """(3,), of train, val and test: 80, 10 and 10 %, or 60, 20 and 20 % of less than 200 pictures."""
    return next(shares for least, shares in _SHARES.items() if num_pictures >= least)


@dataclass(frozen=True)
class Assignment:
    """The split of each picture, (N,), as an index of ``SPLITS``; how it was found, and what to know of it."""

    split: np.ndarray
    how: str
    notes: tuple[str, ...] = ()


def groups_by_name(images: Sequence[str], pattern: str) -> list[str]:
    """What the one group of a regular expression finds in the path of each picture.

    Raises:
        UserError: For another pattern, or where it finds nothing.

    Examples:
        >>> groups_by_name(['a_001.jpg', 'a_002.jpg', 'b_001.jpg'], r'(.+)_[0-9]+')
        ['a', 'a', 'b']
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"--group-by {pattern!r} is no regular expression ({error}): write one such as '(.+)_[0-9]+'"
        ) from error
    if compiled.groups != 1:
        raise UserError(
            f'--group-by {pattern!r} has {compiled.groups} groups in brackets, expected one, which is equal for '
            "pictures that belong together, as in '(.+)_[0-9]+'"
        )
    found = [compiled.search(image) for image in images]
    groups = [match and match[1] for match in found]
    missing = [image for image, group in zip(images, groups, strict=True) if group is None]
    if missing:
        raise UserError(
            f'--group-by {pattern!r} finds nothing in {len(missing)} of {len(images)} paths, first {missing[0]}: '
            'mend the expression'
        )
    return groups


def assign(
    labels: np.ndarray,
    stated: Sequence[str | None] | None,
    groups: Sequence[str | None] | None,
    digests: Sequence[bytes | None],
    shares: np.ndarray | None,
    seed: int,
) -> Assignment:
    """Take the split that the labels say, unless ``shares`` are given, and draw what they leave open.

    Args:
        labels (np.ndarray): (N, C), 1 present, 0 absent, -1 unknown.
        stated (Sequence[str | None], optional): What the labels say of each picture's split.
        groups (Sequence[str | None], optional): Pictures of one stay together.
        digests (Sequence[bytes | None]): Pictures with the same one are copies and stay together.
        shares (np.ndarray, optional): (3,), of train, val and test.
        seed (int): Of what is drawn.

    Raises:
        UserError: If the split cannot be read, or there are too few units to draw one.
    """
    ties = [groups if groups is not None else [None] * len(labels), digests]
    present, units = labels == 1, units_of(*ties)
    if stated is None or shares is not None:
        left = '' if stated is None else '; the one in the labels is left out, for --split is given'
        shares = default_shares(len(labels)) if shares is None else shares
        return Assignment(
            split_pictures(present, units, shares, seed), f'stratified by labels, seed {seed}{left}'
        )
    split, how = read_split(stated), 'as the labels say'
    if not (split == 1).any():
        # Thresholds are chosen and epochs compared on val, and test must stay unseen.
        training = np.flatnonzero(split == 0)
        units_of_training = np.unique(units[training], return_inverse=True)[1]
        two = default_shares(len(labels))[:2]
        split[training] = split_pictures(present[training], units_of_training, two / two.sum(), seed)
        how += f', and val is taken out of train (stratified by labels, seed {seed})'
    notes = []
    for what, tie in zip(('groups have pictures', 'pictures have copies'), ties, strict=True):
        shared = torn(tie, split)
        if shared:
            names = f': {some(shared, 3)}' if tie is groups else ''
            notes.append(
                f'{len(shared)} {what} in several splits{names}; what is measured on them says little of new '
                'pictures. Give --split to have it drawn anew'
            )
    return Assignment(split, how, tuple(notes))


def read_split(stated: Sequence[str | None]) -> np.ndarray:
    """The splits that labels say, (N,), as indices of ``SPLITS``.

    Raises:
        UserError: If a picture has none, or one of another name, or no picture is for training.
    """
    found = [SPLIT_NAMES.get((name or '').strip().casefold()) for name in stated]
    wrong = [name for name, split in zip(stated, found, strict=True) if split is None]
    if wrong:
        raise UserError(
            f'{len(wrong)} of {len(stated)} pictures have the split {wrong[0]!r}, expected {", ".join(SPLITS)}: mend '
            'the labels, or give --split to have it drawn anew'
        )
    if 'train' not in found:
        raise UserError(
            'no picture is in the split train, so there is nothing to learn: mend the labels, or give --split to '
            'have it drawn anew'
        )
    return np.array([SPLITS.index(split) for split in found])

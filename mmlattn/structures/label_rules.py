"""Rules about the labels of a picture: which are there, which are not, and which go together.

A person writes them by name or index, :func:`read_label_rules` reads and checks them, and
:meth:`LabelRules.tensors` is what a decoder gets. C is the number of labels.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from mmlattn.utils.arguments import check_whole
from mmlattn.utils.errors import UserError

RULES = ('present', 'absent', 'exclusive', 'parents', 'count')


@dataclass(frozen=True)
class LabelRules:
    """Rules about the set of labels of a picture, as label indices."""

    present: tuple[int, ...] = ()
    """Labels known to be there."""
    absent: tuple[int, ...] = ()
    """Labels known not to be there."""
    exclusive: tuple[tuple[int, ...], ...] = ()
    """Groups of labels of which at most one is there."""
    parents: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """For a label, those that are there whenever it is."""
    count: int | None = None
    """Exactly so many labels are there."""

    def merge(self, more: 'LabelRules') -> 'LabelRules':
        """Both rules together; where both give a count, that of ``more``. Whether they agree is not looked at."""
        added = {c: _union(self.parents.get(c, ()), needed) for c, needed in more.parents.items()}
        return LabelRules(
            present=_union(self.present, more.present),
            absent=_union(self.absent, more.absent),
            exclusive=_union(self.exclusive, more.exclusive),
            parents={**self.parents, **added},
            count=self.count if more.count is None else more.count,
        )

    @cached_property
    def needs(self) -> dict[int, tuple[int, ...]]:
        """For a label its parents, and what they need; raises ``CycleError`` for a label that needs itself."""
        needs = {}
        # Parents come before their children.
        for child in TopologicalSorter(self.parents).static_order():
            if direct := self.parents.get(child, ()):
                needs[child] = _union(direct, *(needs.get(parent, ()) for parent in direct))
        return needs

    def owed(self) -> set[int]:
        """The labels that are there: those known, and what they need."""
        return set(self.present).union(*(self.needs.get(label, ()) for label in self.present))

    def tensors(self, num_classes: int) -> tuple[Tensor, Tensor]:
        """``exclusive`` and ``parents``, (C, C) bool.

        ``exclusive`` is symmetric: pairs of which at most one is there. Row c of ``parents`` is all labels c needs.
        """
        exclusive, parents = torch.zeros(2, num_classes, num_classes, dtype=torch.bool)
        for members in (label_mask(group, num_classes) for group in self.exclusive):
            exclusive |= members[:, None] & members
        for child, needed in self.needs.items():
            parents[child] = label_mask(needed, num_classes)
        return exclusive.fill_diagonal_(False), parents


def label_mask(labels: Iterable[int], num_classes: int) -> Tensor:
    """Which of C labels are listed, (C,) bool."""
    mask = torch.zeros(num_classes, dtype=torch.bool)
    mask[list(labels)] = True
    return mask


def read_label_rules(
    content: Mapping, num_classes: int, classes: Sequence[str] | None = None, where: str = 'rules'
) -> LabelRules:
    """Read rules as a person writes them, with names or indices of labels.

    Args:
        content (Mapping): Any of ``present`` and ``absent`` (lists of labels), ``exclusive`` (a list of lists),
            ``parents`` (for a label the list of those it needs), ``count``.
        num_classes (int): C.
        classes (Sequence[str], optional): Class names; without them labels are indices.
        where (str): Where the rules stand, for messages.

    Raises:
        UserError: For anything else, an unknown label, or rules that no set of labels can keep.
    """
    check_keys(content, RULES, where)
    labels = _Labels(num_classes, classes)
    parents = content.get('parents', {})
    if not isinstance(parents, Mapping):
        raise UserError(
            f'{where}.parents must give for a label those it needs, as {{"a": ["b"]}}, got {parents!r}'
        )
    groups = labels.entries(content.get('exclusive', ()), f'{where}.exclusive')
    rules = LabelRules(
        present=labels.indices(content.get('present', ()), f'{where}.present'),
        absent=labels.indices(content.get('absent', ()), f'{where}.absent'),
        exclusive=tuple(labels.indices(g, f'{where}.exclusive[{i}]') for i, g in enumerate(groups)),
        parents={
            labels.key(child, f'{where}.parents'): labels.indices(needed, f'{where}.parents[{child!r}]')
            for child, needed in parents.items()
        },
        count=content.get('count'),
    )
    check_label_rules(rules, num_classes, classes, where)
    return rules


def check_label_rules(
    rules: LabelRules, num_classes: int, classes: Sequence[str] | None = None, where: str = 'rules'
) -> None:
    """See that a set of C labels can keep the rules; ``classes`` and ``where`` as for :func:`read_label_rules`.

    Raises:
        UserError: If there is a contradiction. Whether groups leave room for ``count`` labels is looked at for those
            that are ruled out by what is known, and no further.
    """
    name, absent = _Labels(num_classes, classes).name, set(rules.absent)
    try:
        needs, owed = rules.needs, rules.owed()
    except CycleError as error:
        circle = ' needs '.join(map(name, reversed(error.args[1])))
        raise UserError(f'{where}: parents go in a circle: {circle}') from None
    for child, needed in needs.items():
        if pair := _clash({child, *needed}, rules.exclusive):
            raise UserError(
                f'{where}: {name(child)} needs labels of which {" and ".join(map(name, pair))} exclude each other, '
                'so it could never be there'
            )
    if both := sorted(absent & set(rules.present)):
        raise UserError(f'{where}: {name(both[0])} is both present and absent')
    if missing := sorted(absent & owed):
        child = next(label for label in rules.present if missing[0] in needs.get(label, ()))
        raise UserError(f'{where}: {name(child)} is present and needs {name(missing[0])}, which is absent')
    if pair := _clash(owed, rules.exclusive):
        raise UserError(
            f'{where}: {" and ".join(map(name, pair))} exclude each other, but present and what it needs has both'
        )
    if rules.count is not None:
        _check_count(rules, owed, num_classes, where)


def _check_count(rules: LabelRules, owed: set[int], num_classes: int, where: str) -> None:
    count = rules.count
    check_whole(f'{where}: count', count, 0)
    if count < len(owed):
        raise UserError(
            f'{where}: count is {count}, but {len(owed)} labels are present or needed by those that are'
        )
    excluded = chain.from_iterable(group for group in rules.exclusive if owed & set(group))
    out = set(rules.absent) | (set(excluded) - owed)
    out |= {child for child, needed in rules.needs.items() if out & set(needed)}
    if count > num_classes - len(out):
        raise UserError(
            f'{where}: count is {count}, but only {num_classes - len(out)} of {num_classes} labels can be there'
        )


def check_keys(content: Any, known: Sequence[str], where: str) -> None:
    """Raises ``UserError`` for anything but a mapping with keys among those known."""
    if not isinstance(content, Mapping):
        raise UserError(f'{where} must be a mapping with some of {", ".join(known)}, got {content!r}')
    for key in content:
        if key not in known:
            raise UserError(f'{where} has {key!r}{_near(key, known)}; expected some of {", ".join(known)}')


@dataclass(frozen=True)
class _Labels:
    """Labels as a person may write them."""

    num_classes: int
    classes: Sequence[str] | None

    def name(self, label: int) -> str:
        return repr(str(self.classes[label])) if self.classes is not None else f'label {label}'

    def entries(self, entries: Any, where: str) -> Sequence:
        if isinstance(entries, (str, Mapping)) or not isinstance(entries, Sequence):
            raise UserError(f'{where} must be a list, got {entries!r}')
        return entries

    def indices(self, entries: Any, where: str) -> tuple[int, ...]:
        return _union(self.index(entry, where) for entry in self.entries(entries, where))

    def key(self, entry: Any, where: str) -> int:
        """As :meth:`index`; json has no keys but strings, so a number may be written as one."""
        digits = isinstance(entry, str) and entry.isdecimal() and entry not in (self.classes or ())
        return self.index(int(entry) if digits else entry, where)

    def index(self, entry: Any, where: str) -> int:
        if isinstance(entry, str) and self.classes is None:
            raise UserError(f'{where} has {entry!r}, but class names are not known here: give its index')
        if isinstance(entry, str):
            if entry not in self.classes:
                raise UserError(
                    f'{where}: there is no class {entry!r}{_near(entry, self.classes)}; '
                    f'there are {len(self.classes)}'
                )
            return list(self.classes).index(entry)
        if not isinstance(entry, Integral) or isinstance(entry, bool):
            raise UserError(f'{where} must have names or indices of labels, got {entry!r}')
        if not 0 <= entry < self.num_classes:
            raise UserError(
                f'{where}: there is no label {entry}, of {self.num_classes} the last is {self.num_classes - 1}'
            )
        return int(entry)


def _clash(labels: set[int], exclusive: Sequence[Sequence[int]]) -> list[int]:
    """Two of the labels that exclude each other, if there are any."""
    return next((both[:2] for group in exclusive if len(both := sorted(labels & set(group))) > 1), [])


def _union(*parts: Iterable) -> tuple:
    """All entries of all parts once, in order."""
    return tuple(dict.fromkeys(chain.from_iterable(parts)))


def _near(word: Any, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(str(word), list(map(str, known)), n=1)
    return f' (did you mean {found[0]!r}?)' if found else ''

"""What a check has found, for people and for machines."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import groupby

SEVERITIES = ('error', 'warning', 'note')
#: Of the json; it changes where a reader of the old one would stumble.
SCHEMA = 'mmlattn.check_dataset/1'
_FEW, _MANY = 5, 20


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        severity (str): ``'error'``: training can not work, or does not do what its files say. ``'warning'``: it
            works, and what comes of it may mislead. ``'note'``: good to know.
        code (str): The kind of thing, in words that stay the same.
        split (str, optional): ``'train'``, ``'val'`` or ``'test'``, with ``+`` between where several are concerned.
        message (str): For people.
        files (tuple[str]): Pictures concerned, all of them.
        classes (tuple[str]): Names of the classes concerned, all of them.
    """

    severity: str
    code: str
    split: str | None
    message: str
    files: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The message and where; of several splits it says itself which."""
        return self.message if self.split is None or '+' in self.split else f'{self.split}: {self.message}'


def report_lines(findings: Iterable[Finding]) -> list[str]:
    """All findings in lines, errors last; of many of one kind the first ones and the number of the others."""
    order = sorted(findings, key=lambda f: (-SEVERITIES.index(f.severity), f.code, f.split or ''))
    lines = []
    for (severity, code, split), group in groupby(order, key=lambda f: (f.severity, f.code, f.split)):
        same = list(group)
        most = _MANY if severity == 'error' else _FEW
        lines += [f'{severity}: {finding.text}' for finding in same[:most]]
        if len(same) > most:
            where = f'{split}: ' if split else ''
            lines.append(
                f'{severity}: {where}{len(same) - most} more of this kind ({code}): --json FILE lists all'
            )
    return lines


def report_document(
    config: str, checked: Iterable[str], splits: Mapping[str, dict], findings: Iterable[Finding]
) -> dict:
    """The json of a report, as docs/datasets.md describes it.

    Args:
        config (str): Path of the config.
        checked (Iterable[str]): ``'labels'``, ``'pictures'``.
        splits (Mapping[str, dict]): For each split its summary.
        findings (Iterable[Finding]): Whatever was found.
    """
    ordered = sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.code, f.split or ''))
    return dict(
        schema=SCHEMA,
        config=config,
        checked=list(checked),
        summary={f'{s}s': sum(f.severity == s for f in ordered) for s in SEVERITIES},
        splits=dict(splits),
        findings=[asdict(finding) for finding in ordered],
    )

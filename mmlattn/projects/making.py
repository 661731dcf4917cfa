"""From pictures and labels to all that a project's folder holds, and what to say of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmlattn.datasets.annotation_files import some
from mmlattn.datasets.label_files import LabelTable
from mmlattn.evaluation.functional.tuning import LEAST_PICTURES
from mmlattn.utils.errors import UserError

from .assignment import Assignment, assign, groups_by_name
from .config_text import ProjectData, config_text
from .folder import pictures_from
from .proposals import SYSTEMS, Proposal, Wishes, propose
from .reading import LabelledPictures, read_pictures, unlisted_pictures, with_split
from .splitting import SPLITS
from .summary import class_table, copy_notes, facts, group_notes, rare_notes
from .survey import equal_files, picture_sizes

#: RA-CNN names the likeliest class, CNN-RNN decides on sets of labels: neither takes thresholds of scores.
WITHOUT_THRESHOLDS = ('racnn', 'cnn-rnn')


@dataclass(frozen=True)
class Project:
    """What is written and what is said.

    Args:
        table (LabelTable): With split and groups.
        config (str): Text of the config.
        proposal (Proposal): What the config trains.
        has_thresholds (bool): Whether thresholds of scores can be chosen, on enough pictures.
        report (tuple[str, ...]): Lines.
    """

    table: LabelTable
    config: str
    proposal: Proposal
    has_thresholds: bool
    report: tuple[str, ...]


def make_project(
    pictures: Path,
    labels: Path,
    out: Path,
    wishes: Wishes,
    shares: np.ndarray | None = None,
    group_by: str | None = None,
    seed: int = 0,
    **reading,
) -> Project:
    """Look at the data, split them, and propose a training. Writes nothing.

    Args:
        pictures (Path): Folder that the paths in the labels begin at.
        labels (Path): File or folder of labels.
        out (Path): The folder that the project will be in.
        wishes (Wishes): What the user asks for.
        shares (np.ndarray, optional): (3,), of train, val and test; by default as the labels say, or 80, 10 and 10 %.
        group_by (str, optional): See :func:`mmlattn.projects.assignment.groups_by_name`.
        seed (int): Of the split.
        **reading: See :func:`mmlattn.projects.reading.read_pictures`.

    Raises:
        UserError: For whatever stands in the way.
    """
    read = read_pictures(pictures, labels, **reading)
    columns, matrix = read.table.columns, read.labels
    _check_system(wishes.system, labels, read)
    groups = groups_by_name(columns.images, group_by) if group_by is not None else columns.groups
    sizes = np.array(picture_sizes(read.paths))
    digests = equal_files(read.paths)
    found = assign(matrix, columns.splits, groups, digests, shares, seed)
    proposal = propose(wishes, int((found.split == 0).sum()), sizes)
    data = ProjectData(
        num_pictures=len(matrix),
        num_classes=matrix.shape[1],
        pictures=pictures_from(out, pictures),
        most_labels=int((matrix == 1).sum(axis=1).max()),
        some_unknown=bool((matrix == -1).any()),
        has_test=bool((found.split == 2).any()),
    )
    report = (
        *_numbers(read, sizes, found),
        *(f'note: {note}' for note in _notes(pictures, read, found, groups, digests, wishes.system)),
        _told(proposal),
    )
    table = with_split(read, [SPLITS[number] for number in found.split], groups)
    enough = int((found.split == 1).sum()) >= LEAST_PICTURES
    has_thresholds = enough and wishes.system not in WITHOUT_THRESHOLDS
    return Project(table, config_text(data, proposal), proposal, has_thresholds, report)


def _numbers(read: LabelledPictures, sizes: np.ndarray, found: Assignment) -> list[str]:
    number, classes = read.labels.shape
    counts = np.bincount(found.split, minlength=len(SPLITS)).tolist()
    told = ', '.join(f'{name} {count}' for name, count in zip(SPLITS, counts, strict=True))
    return [
        f'{number} pictures of {classes} classes, labels read as {read.table.format}; {facts(read.labels, sizes)}',
        f'split: {told} ({found.how})',
        *class_table(read.table.classes, read.labels, found.split),
    ]


def _notes(
    pictures: Path,
    read: LabelledPictures,
    found: Assignment,
    groups: Sequence[str | None] | None,
    digests: Sequence[bytes | None],
    system: str,
) -> list[str]:
    """What may be other than the user thinks."""
    return [
        *read.table.notes,
        *found.notes,
        *group_notes(groups, found.split),
        *copy_notes(digests, read.labels, read.table.columns.images),
        *_unknown_note(read.labels, system),
        *_unlisted_note(pictures, read),
        *_val_note(int((found.split == 1).sum()), system),
        *rare_notes(read.table.classes, read.labels, found.split),
        *_boxes_note(read),
    ]


def _check_system(system: str, labels: Path, read: LabelledPictures) -> None:
    """See that a system can learn from such labels."""
    present = (read.labels == 1).sum(axis=1)
    if system == 'racnn' and (present != 1).any():
        first = int(np.flatnonzero(present != 1)[0])
        raise UserError(
            f'--system racnn needs exactly one label for each picture, but {int((present != 1).sum())} of '
            f'{len(present)} in {labels} have none or several, first {read.table.columns.images[first]}: choose '
            'another --system'
        )


def _unknown_note(labels: np.ndarray, system: str) -> list[str]:
    unknown = labels == -1
    if not unknown.any():
        return []
    # Of a picture whose one label is known the others are absent.
    meant = (
        'absent, as each picture has its one label' if system == 'racnn' else 'left out of losses and metrics'
    )
    return [
        f'{int(unknown.sum())} labels are unknown ({100 * unknown.mean():.0f} %) and {meant} (docs/partial_labels.md)'
    ]


def _unlisted_note(pictures: Path, read: LabelledPictures) -> list[str]:
    others = unlisted_pictures(pictures, read.paths)
    told = f'{len(others)} pictures in {pictures} have no entry in the labels and are left out'
    return [f'{told}: {some(others, 3)}'] if others else []


def _val_note(number: int, system: str) -> list[str]:
    told = f'val has {number} pictures, too few to choose thresholds by ({LEAST_PICTURES} are needed): see --split'
    return [] if number >= LEAST_PICTURES or system in WITHOUT_THRESHOLDS else [told]


def _boxes_note(read: LabelledPictures) -> list[str]:
    boxes = read.table.columns.boxes
    return (
        []
        if boxes is None or not len(boxes.rows)
        else [f'{len(boxes.rows)} boxes are left out: labels.csv holds labels of pictures']
    )


def _told(proposal: Proposal) -> str:
    backbone = 'that does not learn, for there are few pictures' if proposal.frozen else 'that learns too'
    start = 'random weights' if proposal.weights is None else proposal.weights
    if start == proposal.backbone.url:
        start += ' (fetched when training starts; where it can not be reached, see --weights)'
    return (
        f'proposed: {SYSTEMS[proposal.system]} on {proposal.backbone.kind} {backbone}, from {start}; '
        f'{proposal.size} x {proposal.size} pixels, {proposal.batch_size} pictures a step, {proposal.epochs} epochs'
    )

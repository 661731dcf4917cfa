"""The pictures of a page: each one small, and those that are looked at by themselves with their evidence."""

from collections.abc import Callable, Sequence

import numpy as np
from mmpretrain.structures import DataSample
from rich.progress import track

from ..evidence_visualizer import EvidenceVisualizer
from .findings import Findings
from .pictures import PagePicture, page_picture

#: Longer side of a small picture, and side of a cell beside others, in pixels.
SMALL, CELL = 128, 180
#: Most blank rows of pixels in a drawing.
GAP = 12


def page_pictures(
    look: Callable[[int, bool], tuple[np.ndarray, DataSample | None]],
    classes: Sequence[str],
    found: Findings,
    most: int,
    visualizer: EvidenceVisualizer,
) -> dict[str, PagePicture]:
    """The store of a page of errors.

    Args:
        look (Callable): Gives a picture by its number, (H, W, 3 or 1) in RGB, and its sample if that is asked for.
        classes (Sequence[str]): Their names.
        found (Findings): What is shown.
        most (int): At most so many pictures.
        visualizer (EvidenceVisualizer): Draws evidence.

    Returns:
        dict: ``p3`` is picture 3, small, and ``s3`` the same with its evidence.
    """
    store, drawn = {}, set(found.looked_at)
    for number in track(found.pictures(most), 'drawing'):
        picture, sample = look(number, number in drawn)
        store[f'p{number}'] = page_picture(picture, SMALL)
        if sample is not None:
            sheet = visualizer.draw_sheet([picture], [sample], classes, cell_size=CELL)
            store[f's{number}'] = page_picture(without_gaps(sheet, GAP))
    return store


def without_gaps(sheet: np.ndarray, most: int) -> np.ndarray:
    """A drawing (H, W, 3) with at most so many rows of one colour behind each other: wide pictures leave many."""
    blank = (sheet == sheet[:, :1]).all(axis=(1, 2))
    # For each row, how many blank ones end with it.
    ends = np.arange(len(sheet)) + 1
    run = ends - np.maximum.accumulate(np.where(blank, 0, ends))
    return sheet[run <= most]

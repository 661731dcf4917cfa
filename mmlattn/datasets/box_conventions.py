"""Boxes that another program wrote in another order, or that reach beyond their pictures."""

from collections.abc import Callable, Sequence

import numpy as np

from .annotation_files import refuse, warn

# What the four numbers of a box may mean, each with what makes corners (left, top, right, bottom) of (N, 4) numbers.
_LAYOUTS = {
    'x, y, width, height': lambda n: np.hstack((n[:, :2], n[:, :2] + n[:, 2:])),
    'xmin, ymin, xmax, ymax': lambda n: n,
    'center x, center y, width, height': lambda n: np.hstack(
        (n[:, :2] - n[:, 2:] / 2, n[:, :2] + n[:, 2:] / 2)
    ),
    'y, x, height, width': lambda n: _LAYOUTS['x, y, width, height'](n[:, [1, 0, 3, 2]]),
    'ymin, xmin, ymax, xmax': lambda n: n[:, [1, 0, 3, 2]],
}
# How far a box may reach beyond its picture unnoticed, in pixels: COCO rounds, others count from 1.
TOLERANCE = 1


def check_boxes(
    ann_file: str,
    numbers: Sequence,
    sizes: Sequence,
    layout: str,
    place: Callable[[int], tuple[str, str]],
    only_layout: bool = False,
) -> None:
    """See that boxes are in pixels and in their pictures; what sticks out of some is logged, to be cut off.

    Args:
        ann_file (str): The file, for messages on all boxes.
        numbers (Sequence): Shape (N, 4), as they stand in the files.
        sizes (Sequence): Shape (N, 2), width and height of each one's picture in pixels.
        layout (str): What the numbers mean, one of ``_LAYOUTS``.
        place (Callable): Gives file and entry of box i.
        only_layout (bool): Whether single boxes that stick out or lie outside are passed over.

    Raises:
        UserError: If all boxes are fractions, or fit their pictures only in another layout; if most reach beyond
            their pictures, or any lies outside.
    """
    numbers, sizes = np.array(numbers, float).reshape(-1, 4), np.array(sizes, float).reshape(-1, 2)
    if not len(numbers):
        return
    corners = _LAYOUTS[layout](numbers)
    beyond = ~_inside(corners, sizes)
    if numbers.min() >= 0 and numbers.max() <= 1 and (numbers % 1).any() and sizes.min() > 1:
        refuse(
            *place(0), f'the box {numbers[0].tolist()} and all others are fractions: write {layout} in pixels'
        )
    if not beyond.any():
        return
    first = int(np.flatnonzero(beyond)[0])
    share = f'{beyond.sum()} of {len(beyond)} boxes reach beyond their pictures'
    told = f'the box {_told(numbers[first], layout, sizes[first])}'
    says = f'{told} does not fit; {share}'
    others = [name for name, corners_of in _LAYOUTS.items() if _inside(corners_of(numbers), sizes).all()]
    if others:
        refuse(*place(first), f'{says}, none if the numbers are {" or ".join(others)}: write {layout}')
    if 2 * beyond.sum() > len(beyond):
        refuse(*place(first), f'{says}: write {layout}, in pixels of the picture with the size told')
    if only_layout:
        return
    outside = ((corners[:, :2] > sizes) | (corners[:, 2:] < 0)).any(1)
    if outside.any():
        lost = int(np.flatnonzero(outside)[0])
        refuse(
            *place(lost),
            f'the box {_told(numbers[lost], layout, sizes[lost])} lies outside: mend or remove it',
        )
    warn(ann_file, f'{share} and are cut off there, first {": ".join(place(first))}: {told}')


def reaches_beyond(box: Sequence[float], size: Sequence[float]) -> bool:
    """Whether corners in pixels lie outside the picture by more than the tolerance."""
    return not _inside(np.array([box], float), np.array([size], float)).all()


def _told(numbers: np.ndarray, layout: str, size: np.ndarray) -> str:
    return f'{numbers.tolist()} ({layout}) in a picture of {size[0]:g} x {size[1]:g} pixels'


def _inside(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes have corners in order, and none of them far outside."""
    left_top, right_bottom = corners[:, :2], corners[:, 2:]
    right = (left_top >= -TOLERANCE) & (right_bottom <= sizes + TOLERANCE) & (left_top <= right_bottom)
    return right.all(1)

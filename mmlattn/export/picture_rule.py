"""The test pipeline of a config as plain steps, which a program without mmcv can repeat."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class PictureRule(NamedTuple):
    """From a file to the pixels that are normalised.

    ``steps`` are dicts, in order, whose ``do`` is

    * ``resize``: to ``width`` and ``height``;
    * ``resize_edge``: ``edge`` ('short', 'long', 'width' or 'height') becomes ``length``, the other one rounded down;
    * ``resize_inside``: as large as ``long`` and ``short`` allow for the longer and the shorter side, rounded;
    * ``center_crop``: ``width`` and ``height`` from the middle, no more than there are.

    Each resizing has its ``interpolation`` and the ``backend`` whose it is: 'cv2' (between pixel centres, without
    smoothing) or 'pillow'. None where some transform is none of these; ``problem`` says which.
    """

    steps: list[dict] | None
    problem: str | None = None


def picture_rule(loader: Any, transforms: Sequence, side: int | None = None) -> PictureRule:
    """Read built transforms.

    Args:
        loader (LoadImageFromFile, optional): What loads the picture; None where a data set keeps arrays.
        transforms (Sequence): What comes behind it.
        side (int, optional): Of the arrays that a data set without a loader keeps.
    """
    if loader is not None and loader.to_float32:
        return PictureRule(
            None, 'LoadImageFromFile(to_float32=True) resizes other numbers than those of the file'
        )
    steps = []
    if loader is None and side is not None:
        steps.append(dict(do='resize', width=side, height=side, interpolation='area', backend='cv2'))
    for transform in transforms:
        kind = type(transform).__name__
        if kind in _READ:
            step = _READ[kind](transform)
        elif kind in ('PackInputs', 'PackMultiTaskInputs'):
            continue
        else:
            step = None
        if step is None:
            return PictureRule(None, f'{kind} has no plain step')
        steps.append(step)
    return PictureRule(steps)


def _resize(transform: Any) -> dict | None:
    if transform.scale is None:
        return None
    width, height = transform.scale
    how = dict(interpolation=transform.interpolation, backend=transform.backend)
    if transform.keep_ratio:
        return dict(do='resize_inside', long=max(width, height), short=min(width, height), **how)
    return dict(do='resize', width=width, height=height, **how)


def _resize_edge(transform: Any) -> dict:
    how = dict(interpolation=transform.interpolation, backend=transform.backend)
    return dict(do='resize_edge', edge=transform.edge, length=transform.scale, **how)


def _center_crop(transform: Any) -> dict | None:
    width, height = transform.crop_size
    return None if transform.auto_pad else dict(do='center_crop', width=width, height=height)


_READ = dict(Resize=_resize, ResizeEdge=_resize_edge, CenterCrop=_center_crop)

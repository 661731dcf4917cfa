"""Regions against true boxes, and true boxes in the frame of a crop."""

import numpy as np
import torch
from torchvision.ops import box_iou

__all__ = ['boxes_in_center_crop', 'region_overlaps']


def region_overlaps(regions: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each region fits the box that it fits best, and how much it holds of the one it holds most of.

    Args:
        regions (ndarray): (K, 4), xyxy; one without an area fits nothing.
        boxes (ndarray): (n, 4), xyxy in the same frame, at least one, each with an area.

    Returns:
        tuple[ndarray, ndarray]: Highest intersection over union and highest share of a box inside, (K,) each.
    """
    regions, boxes = regions[:, None].astype(np.float64), boxes.astype(np.float64)
    inside = np.minimum(regions[..., 2:], boxes[:, 2:]) - np.maximum(regions[..., :2], boxes[:, :2])
    covered = np.clip(inside, 0, None).prod(axis=-1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    iou = box_iou(torch.from_numpy(regions[:, 0]), torch.from_numpy(boxes)).numpy()
    return iou.max(axis=1), covered.max(axis=1)


def boxes_in_center_crop(
    boxes: np.ndarray, resized: tuple[int, int], crop: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a picture in the frame of its centre, as mmcv's ``CenterCrop`` cuts it out.

    Args:
        boxes (ndarray): (n, 4), xyxy in [0, 1] of the picture, each with an area.
        resized (tuple[int, int]): (h, w) of the picture before the crop, pixels.
        crop (tuple[int, int]): (h, w) of the crop, pixels, at most ``resized``.

    Returns:
        tuple[ndarray, ndarray]: The boxes (n, 4), clipped to [0, 1] of the crop, and the share of the area of each
        that is left, (n,).
    """
    # Python rounds halves to even, as CenterCrop does.
    offset = [round((whole - part) / 2) for whole, part in zip(resized[::-1], crop[::-1], strict=True)]
    moved = (boxes * np.tile(resized[::-1], 2) - np.tile(offset, 2)) / np.tile(crop[::-1], 2)
    clipped = np.clip(moved, 0, 1)
    left, whole = ((b[:, 2:] - b[:, :2]).prod(axis=-1) for b in (clipped, moved))
    return clipped, left / whole

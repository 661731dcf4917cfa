"""Where a model saw a class, as a point and as a box, and how that compares with true boxes.

All coordinates are (x, y) or xyxy in [0, 1] of one frame, the whole picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from mmlattn.structures.evidence import attention_peaks
from mmlattn.structures.frames import has_area

Size = tuple[float, float]
"""Width and height of a picture."""

LATTICE = 100
"""Points in each direction at which a share without a closed form is counted."""


@dataclass(frozen=True)
class SeenInMaps:
    """Where each class was seen, by its attention map (C, h, w), not negative; if all zero, then nowhere."""

    maps: np.ndarray
    threshold: float = 0.2

    def point(self, label: int) -> np.ndarray | None:
        """The peak (2,), or None."""
        chosen = self.maps[label]
        return attention_peaks(torch.from_numpy(chosen)).numpy() if chosen.any() else None

    def box(self, label: int) -> np.ndarray | None:
        """The :func:`map_box` (4,), or None."""
        return map_box(self.maps[label], self.threshold)

    def chance(self, boxes: np.ndarray, tolerance: float = 0.0, size: Size = (1.0, 1.0)) -> float:
        """How often the centre of a cell drawn at random is in one of ``boxes``, as :func:`inside_any` counts."""
        return inside_any(_cell_centres(*self.maps.shape[1:]), boxes, tolerance, size).mean()


@dataclass(frozen=True)
class SeenInRegions:
    """Where each class was seen, by the region (K, 4) with the highest of its scores (K, C), the first of equals."""

    regions: np.ndarray
    scores: np.ndarray

    def point(self, label: int) -> np.ndarray | None:
        """The centre of the box (2,), or None."""
        box = self.box(label)
        return None if box is None else (box[:2] + box[2:]) / 2

    def box(self, label: int) -> np.ndarray | None:
        """The region (4,), or None if it has no area."""
        box = self.regions[self.scores[:, label].argmax()]
        return box if has_area(box) else None

    def chance(self, boxes: np.ndarray, tolerance: float = 0.0, size: Size = (1.0, 1.0)) -> float:
        """How often a point drawn at random is in one of ``boxes``, as :func:`inside_any` counts."""
        if not tolerance:
            return covered_share(boxes)
        # Round corners have no closed form once boxes overlap.
        return inside_any(_cell_centres(LATTICE, LATTICE), boxes, tolerance, size).mean()


Seen = SeenInMaps | SeenInRegions


def seen_in(places: Mapping[str, np.ndarray], threshold: float = 0.2) -> Seen:
    """Where each class was seen, from what :func:`mmlattn.structures.read_places` reads of a sample."""
    if 'attention_maps' in places:
        return SeenInMaps(places['attention_maps'], threshold)
    return SeenInRegions(places['regions'], places['region_scores'])


def map_box(attention_map: np.ndarray, threshold: float = 0.2) -> np.ndarray | None:
    """Box of an attention map as from class activation maps (Zhou et al., "Learning deep features for discriminative
    localization", CVPR 2016): the tightest one round the largest connected component of what reaches a share of the
    map's maximum.

    Cells touch at sides and corners. Of components of equal size it is the one with more of the map's mass. The map
    is taken as it is, cell by cell, where the paper enlarges it to the picture first; and a cell that has just the
    share is kept, where the paper keeps what is above it, so that a share of 1 leaves the peak.

    Args:
        attention_map (ndarray): (h, w), not negative.
        threshold (float): The share, in (0, 1].

    Returns:
        ndarray: (4,), or None for a map that is all zero.
    """
    maximum = attention_map.max()
    if not maximum > 0:
        return None
    kept = (attention_map >= threshold * maximum).astype(np.uint8)
    _, component, statistics, _ = cv2.connectedComponentsWithStats(kept, connectivity=8)
    mass = np.bincount(component.ravel(), attention_map.ravel())
    area = statistics[:, cv2.CC_STAT_AREA]
    # Component 0 is what was not kept.
    largest = max(range(1, len(area)), key=lambda i: (area[i], mass[i]))
    left, top, box_width, box_height = statistics[largest, :4]
    height, width = attention_map.shape
    return np.array([left / width, top / height, (left + box_width) / width, (top + box_height) / height])


def inside_any(
    points: np.ndarray, boxes: np.ndarray, tolerance: float = 0.0, size: Size = (1.0, 1.0)
) -> np.ndarray:
    """Which points (n, 2) lie in at least one of the boxes (K, 4), or within a circle round it.

    ``tolerance`` is the radius of the circle round a point that has to touch a box, in the unit in which the picture
    is ``size`` = (width, height), say pixels.
    """
    apart = np.maximum(boxes[None, :, :2] - points[:, None], points[:, None] - boxes[None, :, 2:])
    return (np.linalg.norm(apart.clip(0) * size, axis=-1) <= tolerance).any(axis=1)


def _cell_centres(height: int, width: int) -> np.ndarray:
    """(x, y) of each cell of a map, row by row: (height * width, 2)."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def covered_share(boxes: np.ndarray) -> float:
    """Share of the picture that lies in at least one of the boxes (K, 4)."""
    # Exact: the edges of the boxes cut the picture into rectangles.
    inside = np.clip(boxes, 0, 1)
    x, y = np.unique(inside[:, ::2]), np.unique(inside[:, 1::2])
    centres = np.stack(np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2), axis=-1).reshape(-1, 2)
    return float(np.outer(np.diff(y), np.diff(x)).ravel() @ inside_any(centres, inside))


def region_overlaps(regions: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How well each region (K, 4) fits the box that it fits best, and how much it holds of the one it holds most of.

    There is at least one box (n, 4), and each has an area.

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
        boxes (ndarray): (n, 4), each with an area.
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

"""Where a model saw a class, as a point and as a box, and how that compares with true boxes.

All coordinates are (x, y) or xyxy in [0, 1] of one frame, the whole picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision.ops import box_iou

from mmlattn.structures import attention_peaks

__all__ = [
    'SeenInMaps', 'SeenInRegions', 'best_iou', 'cell_centres', 'covered_share', 'has_area', 'inside_any', 'map_box',
]  # fmt: skip


@dataclass(frozen=True)
class SeenInMaps:
    """Where each class was seen, by its attention map.

    Args:
        maps (ndarray): (C, h, w), none of them negative; a class whose map is all zero was seen nowhere.
        threshold (float): Of :func:`map_box`.
    """

    maps: np.ndarray
    threshold: float = 0.2

    def point(self, label: int) -> np.ndarray | None:
        """The peak: (2,), or None."""
        chosen = self.maps[label]
        return attention_peaks(torch.from_numpy(chosen)).numpy() if chosen.any() else None

    def box(self, label: int) -> np.ndarray | None:
        """The box: (4,), or None."""
        return map_box(self.maps[label], self.threshold)

    def chance(self, boxes: np.ndarray, tolerance: float = 0.0) -> float:
        """How often the centre of a cell drawn at random lies in one of ``boxes``, each grown by ``tolerance``."""
        return inside_any(cell_centres(*self.maps.shape[1:]), boxes, tolerance).mean()


@dataclass(frozen=True)
class SeenInRegions:
    """Where each class was seen, by the region with its highest score, the first of equals.

    Args:
        regions (ndarray): (K, 4), clipped to the picture; a region without an area shows nothing.
        scores (ndarray): (K, C).
    """

    regions: np.ndarray
    scores: np.ndarray

    def point(self, label: int) -> np.ndarray | None:
        """The centre of the box: (2,), or None."""
        box = self.box(label)
        return None if box is None else (box[:2] + box[2:]) / 2

    def box(self, label: int) -> np.ndarray | None:
        """The region: (4,), or None if it has no area."""
        box = self.regions[self.scores[:, label].argmax()]
        return box if has_area(box) else None

    def chance(self, boxes: np.ndarray, tolerance: float = 0.0) -> float:
        """How often a point drawn at random lies in one of ``boxes``, each grown by ``tolerance``."""
        return covered_share(boxes, tolerance)


def map_box(attention_map: np.ndarray, threshold: float = 0.2) -> np.ndarray | None:
    """Box of an attention map as from class activation maps (Zhou et al., "Learning deep features for discriminative
    localization", CVPR 2016): the tightest one round the largest connected component of what reaches a share of the
    map's maximum.

    Cells touch at sides and corners. Of components of equal size it is the one with more of the map's mass. The map
    is taken as it is, cell by cell, where the paper enlarges it to the picture first.

    Args:
        attention_map (ndarray): (h, w), not negative.
        threshold (float): The share, in (0, 1].

    Returns:
        ndarray: (4,), xyxy in [0, 1], or None for a map that is all zero.
    """
    maximum = attention_map.max()
    if not maximum > 0:
        return None
    kept = (attention_map >= threshold * maximum).astype(np.uint8)
    _, component, statistics, _ = cv2.connectedComponentsWithStats(kept, connectivity=8)
    mass = np.bincount(component.ravel(), attention_map.ravel())
    area = statistics[:, cv2.CC_STAT_AREA]
    largest = max(range(1, len(area)), key=lambda i: (area[i], mass[i]))  # 0 is what was not kept
    left, top, box_width, box_height = statistics[largest, :4]
    height, width = attention_map.shape
    return np.array([left / width, top / height, (left + box_width) / width, (top + box_height) / height])


def has_area(boxes: np.ndarray) -> np.ndarray:
    """Which boxes (..., 4) have an area: (...) bool."""
    return (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)


def best_iou(box: np.ndarray, boxes: np.ndarray) -> float:
    """Highest intersection over union of a box (4,) with one of ``boxes`` (K, 4), at least one, each with an area."""
    one, many = (torch.from_numpy(np.asarray(b, np.float64).reshape(-1, 4)) for b in (box, boxes))
    return box_iou(one, many).max().item()


def inside_any(points: np.ndarray, boxes: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Which points lie in at least one box; borders belong to the box.

    Args:
        points (ndarray): (n, 2), (x, y).
        boxes (ndarray): (K, 4), xyxy in the same frame; each is grown by ``tolerance`` on all four sides.
        tolerance (float): In units of the frame.

    Returns:
        ndarray: (n,) bool.
    """
    low, high = boxes[None, :, :2] - tolerance, boxes[None, :, 2:] + tolerance
    return ((points[:, None] >= low) & (points[:, None] <= high)).all(axis=2).any(axis=1)


def cell_centres(height: int, width: int) -> np.ndarray:
    """Centres of the cells of a map, the only places its peak can be.

    Returns:
        ndarray: (height * width, 2), (x, y) in [0, 1], row by row.
    """
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def covered_share(boxes: np.ndarray, tolerance: float = 0.0) -> float:
    """Share of the picture that lies in at least one box, exactly: the edges of the boxes cut it into rectangles.

    Args:
        boxes (ndarray): (K, 4), xyxy in [0, 1]; each is grown by ``tolerance`` on all four sides.
        tolerance (float): As a fraction of width and height.
    """
    grown = np.clip(boxes + tolerance * np.array([-1, -1, 1, 1]), 0, 1)
    x, y = np.unique(grown[:, ::2]), np.unique(grown[:, 1::2])
    centres = np.stack(np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2), axis=-1).reshape(-1, 2)
    return float(np.outer(np.diff(y), np.diff(x)).ravel() @ inside_any(centres, grown))

"""The pointing game: does the peak of an attention map lie in a box of its class?"""

import numpy as np

__all__ = ['cell_centres', 'inside_any']


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

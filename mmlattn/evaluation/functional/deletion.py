"""Deletion and insertion: what a class's score does while the places it was seen in are taken away, or given back.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018 (arXiv
1806.07421). They go pixel by pixel; here a picture is a grid of G x G cells, because single pixels taken out at
random are noise, which spoils a picture more than the loss of the same area in one piece does: orders that are
scattered and orders that are not could not be compared.

G: cells in each direction. N = G G: cells, row by row. S: steps; a curve has S + 1 points, of which the first is the
picture as it is (deletion) or what stands in its place (insertion), and the last the other one.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

from .bootstrap import draw_pictures

#: What stands in the place of a cell that is taken away, see :func:`stand_in`.
FILLS = ('zero', 'mean', 'blur')


def relevance(
    places: Mapping[str, np.ndarray], label: int, grid: int, zooms_in: bool = False
) -> np.ndarray | None:
    """How much each cell was looked at for a class: (G, G), the higher the sooner it is taken.

    An attention map is resampled bilinearly (averaged where it has more cells than the grid). Of regions a cell
    counts for the best that holds it, weighed by the share inside: K for the region with the class's highest score,
    K - 1 for the next ... 0 outside of all. Of looks that zoom in, which all classes share, the number that hold it.

    Args:
        places (Mapping): What :func:`mmlattn.structures.evidence.read_places` reads of a sample.
        label (int): The class.
        grid (int): G.
        zooms_in (bool): Whether the regions are looks that zoom in, so that the finest tells most.

    Returns:
        ndarray: Or None where there is nothing: a map that is all zero, regions that lie outside of the picture.
    """
    if 'attention_maps' in places:
        chosen = torch.from_numpy(np.array(places['attention_maps'][label], np.float32))
        if not chosen.any():
            return None
        resampled = F.interpolate(
            chosen[None, None], (grid, grid), mode='bilinear', align_corners=False, antialias=True
        )
        return resampled[0, 0].numpy()
    covered = covered_cells(places['regions'], grid)
    if zooms_in:
        found = covered.sum(axis=0)
    else:
        scores = places['region_scores'][:, label]
        # Stable, so that of equal regions the first counts as the best, as elsewhere.
        rank = np.empty(len(scores), int)
        rank[np.argsort(-scores, kind='stable')] = np.arange(len(scores))
        found = ((len(scores) - rank)[:, None, None] * covered).max(axis=0)
    return found if found.any() else None


def covered_cells(boxes: np.ndarray, grid: int) -> np.ndarray:
    """Share of each cell inside each box (K, 4), xyxy in [0, 1]: (K, G, G)."""
    edges = np.arange(grid + 1) / grid
    along = np.minimum(boxes[:, 2:, None], edges[1:]) - np.maximum(boxes[:, :2, None], edges[:-1])
    x, y = np.moveaxis(along.clip(0) * grid, 1, 0)
    return y[:, :, None] * x[:, None, :]


def nearness(grid: int) -> np.ndarray:
    """Of each cell to the centre of the picture, (G, G): photographers put there what they show."""
    middle = np.arange(grid) - (grid - 1) / 2
    return -np.hypot(middle[:, None], middle[None])


def cell_order(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Indices (N,) of cells (G, G), highest value first; equals in an order drawn at random."""
    return np.lexsort((generator.random(values.size), -values.ravel()))


def taken_cells(order: np.ndarray, steps: int) -> np.ndarray:
    """Which cells are taken at each point of a curve, (S + 1, N) bool: none, then s / S of them, then all."""
    check_whole('steps', steps, 1)
    if steps > len(order):
        raise UserError(
            f'steps={steps} of {len(order)} cells: take at most one step for each cell, or a finer grid'
        )
    turn = np.empty(len(order), int)
    turn[order] = np.arange(len(order))
    return turn < taken_counts(len(order), steps)[:, None]


def taken_counts(cells: int, steps: int) -> np.ndarray:
    """How many of the cells are taken at each point of a curve, (S + 1,)."""
    return np.round(np.arange(steps + 1) * cells / steps).astype(int)


def stand_in(picture: Tensor, fill: str, sigma: float = 10.0) -> Tensor:
    """What stands in the place of a picture (3, H, W) as the network gets it, normalised.

    Args:
        picture (Tensor): The picture.
        fill (str): 'zero': 0, which is the mean colour of the data the backbone was trained on, as in the authors'
            deletion. 'mean': the picture's own mean colour. 'blur': the picture blurred, as in their insertion.
        sigma (float): Of the blur, in pixels.
    """
    check_choice('fill', fill, FILLS)
    if fill == 'zero':
        return torch.zeros_like(picture)
    if fill == 'mean':
        return picture.mean(dim=(1, 2), keepdim=True).expand_as(picture)
    check_number('sigma', sigma, least=0.1)
    blurred = gaussian_filter(picture.cpu().numpy(), (0, sigma, sigma), mode='mirror', truncate=3)
    return torch.from_numpy(blurred).to(picture)


def exchanged(picture: Tensor, other: Tensor, taken: Tensor) -> Tensor:
    """Pictures (M, 3, H, W) in which cells of a picture (3, H, W) are those of another one.

    Args:
        picture (Tensor): The picture.
        other (Tensor): What stands in its place.
        taken (Tensor): Shape (M, G, G), bool, which cells.
    """
    height, width = picture.shape[1:]
    grid = taken.shape[-1]
    if grid > min(height, width):
        raise UserError(
            f'a grid of {grid} cells in each direction is finer than the picture, {height} x {width}'
        )
    rows, columns = (
        torch.arange(side, device=taken.device) * grid // side for side in (height, width)
    )  # every cell has a pixel
    return torch.where(taken[:, None, rows][..., columns], other, picture)


def area_under(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Area under curves of scores (..., S + 1) over the share that was taken (S + 1,), by trapezoids."""
    return trapezoid(scores, shares, axis=-1)


def sampled_means(
    values: np.ndarray, pictures: Sequence[int], rounds: int = 2000, seed: int = 0
) -> np.ndarray:
    """Means of values (P, M) of P pairs on samples of the pictures, with replacement: (rounds, M).

    Args:
        values (ndarray): Of each pair of a picture and a class.
        pictures (Sequence[int]): The picture of each pair. Pairs of one picture are no independent draws, so pictures
            are drawn with all that they have.
        rounds (int): Samples.
        seed (int): Of the draw.
    """
    _, groups = np.unique(pictures, return_inverse=True)
    count = groups.max() + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, groups, values)
    drawn = draw_pictures(count, rounds, seed)
    return drawn @ sums / (drawn @ np.bincount(groups))[:, None]

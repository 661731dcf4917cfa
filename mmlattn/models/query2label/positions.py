"""Where a location of a map lies, as sines and cosines.

Carion et al., "End-to-End Object Detection with Transformers" (DETR), ECCV 2020, https://arxiv.org/abs/2005.12872:
the encoding of Vaswani et al. (section 3.5) of y in the first half of the channels and of x in the second. With
m = d / 2 channels for each and the rows numbered from 1 to h, scaled so that the last lies at 2 pi,

    y_i = 2 pi i / h,    PE(y)_2j = sin(y / 10000^(2j / m)),    PE(y)_2j+1 = cos(y / 10000^(2j / m))

and x likewise over w. Grids of any size cover the same range, so one head reads several sizes of picture.
"""

import math

import torch
from torch import Tensor

TEMPERATURE = 10000


def sine_positions(height: int, width: int, dims: int, like: Tensor) -> Tensor:
    """The encoding of each cell, row by row: (h * w, d), d a multiple of 4, in the type and place of ``like``."""
    rows, columns = (_encode(count, dims // 2, like) for count in (height, width))
    grid = (rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1))
    return torch.cat(grid, dim=-1).flatten(0, 1).to(like.dtype)


def _encode(count: int, dims: int, like: Tensor) -> Tensor:
    """Of ``count`` cells along one side, (count, dims), in float32 at least: half precision knows few angles."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    steps = torch.arange(1, count + 1, dtype=dtype, device=like.device)
    powers = torch.arange(0, dims, 2, dtype=dtype, device=like.device) / dims
    angles = (2 * math.pi / count * steps)[:, None] / TEMPERATURE**powers
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)

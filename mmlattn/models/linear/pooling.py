"""From a map of class scores to one score of each class.

The linear classifier is applied at every location k, s_k = W x_k + b, and its scores are pooled class by class:

    avg  mean_k s_k                             the classifier of the averaged features, as both are linear
    max  max_k s_k                              one location decides (Oquab et al., CVPR 2015)
    lse  (1 / r) log mean_k exp(r s_k)          in between: the mean for r -> 0, the maximum for r -> infinity

The last is that of Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional Networks",
CVPR 2015, https://arxiv.org/abs/1411.6228.

Shapes: scores (B, N, C) of N = h * w locations.
"""

import torch
from torch import Tensor

from mmlattn.models.layers.precision import widen
from mmlattn.models.layers.score_fusion import fuse_scores

#: By what name ``fuse_scores`` knows them.
POOLS = dict(avg='mean', max='max', lse='lse')


def pool_scores(scores: Tensor, pool: str, sharpness: float) -> Tensor:
    """One score of each class, (B, C), float32 at least; ``sharpness`` is r, which only 'lse' depends on."""
    if pool != 'lse':
        return fuse_scores(scores, POOLS[pool])
    return fuse_scores(sharpness * widen(scores), POOLS[pool]) / sharpness


def score_maps(scores: Tensor) -> Tensor:
    """Where each class scores high, (B, C, N): s_k - min_k s_k, scaled to sum to 1; flat where the scores are."""
    maps = widen(scores).transpose(1, 2)
    maps = maps - maps.amin(dim=-1, keepdim=True)
    total = maps.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, maps / torch.where(total > 0, total, 1), 1 / maps.shape[-1])

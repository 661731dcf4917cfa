"""Recurrently discovered attentional regions.

Wang et al., "Multi-label Image Recognition by Recurrently Discovering Attentional Regions", ICCV 2017,
https://arxiv.org/abs/1711.02816. With the feature map f_I, for k = 0 ... K, starting from the whole map:

    f_k = st(f_I, M_k)                 look at region k          ``look``
    x_k = relu(W_fx vec(f_k) + b_x)    what is there             ``embed``
    h_k, c_k = LSTM(x_k, h, c)         with what was seen so far ``cell``
    z_k = relu(W_hz h_k + b_z)                                   ``project``
    s_k = W_zs z_k + b_s               k >= 1, in the head
    M_k+1 = W_zm z_k + b_m             k < K, where to look next ``locate``

All weights are shared between the steps. The look at the whole map, step 0, chooses the first region and gives no
score.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['STLSTMOutput', 'discover_regions']


class STLSTMOutput(NamedTuple):
    """What the ``STLSTM`` neck returns; heads that read the last entry of a tuple get ``pooled``.

    ===============  ===========  ==========================================================================
    field            shape        meaning
    ===============  ===========  ==========================================================================
    ``step_feats``   (B, K, D)    z_1 to z_K; (B, K + 1, D) with z_0 first if the neck includes the whole map
    ``theta``        (B, K, 4)    (s_x, s_y, t_x, t_y) of regions 1 to K, see ``spatial_transformer.py``
    ``anchors``      (K, 2)       the point each region is drawn to
    ``anchor_mask``  (K,) bool    which regions are drawn to theirs
    ``pooled``       (B, D)       maximum of ``step_feats`` over the steps
    ===============  ===========  ==========================================================================
    """

    step_feats: Tensor
    theta: Tensor
    anchors: Tensor
    anchor_mask: Tensor
    pooled: Tensor


def discover_regions(
    whole: Tensor,
    num_steps: int,
    look: Callable[[Tensor], Tensor],
    embed: Callable[[Tensor], Tensor],
    cell: torch.nn.Module,
    project: Callable[[Tensor], Tensor],
    locate: Callable[[Tensor, int], Tensor],
) -> tuple[Tensor, Tensor]:
    """Look K + 1 times.

    Args:
        whole (Tensor): The theta of the first look, (1, 1, 0, 0) for each picture, shape (B, 4).
        num_steps (int): K.
        look (Callable): From theta (B, 4) to the features of the region f_k (B, C, R, R).
        embed (Callable): From f_k to x_k (B, D_x).
        cell (Module): ``LSTMCell``.
        project (Callable): From h_k to z_k (B, D).
        locate (Callable): From z_k and the number of the next region, counted from 0, to its theta (B, 4).

    Returns:
        tuple[Tensor, Tensor]: z_0 to z_K, shape (B, K + 1, D), and theta of regions 1 to K, shape (B, K, 4).
    """
    theta, state = whole, None
    seen, thetas = [], []
    for k in range(num_steps + 1):
        x = embed(look(theta))
        state = cell(x, cell.start(x) if state is None else state)
        seen.append(project(state[0]))
        if k < num_steps:
            theta = locate(seen[-1], k)
            thetas.append(theta)
    return torch.stack(seen, dim=1), torch.stack(thetas, dim=1)

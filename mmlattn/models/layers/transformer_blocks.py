"""The two blocks of a transformer, each with its residual and its norm behind it.

Vaswani et al., "Attention Is All You Need", NIPS 2017, https://arxiv.org/abs/1706.03762, section 3; with
``drop`` the dropout in training:

    attention     norm(x + drop(A(q, k, v)))           x the queries without their positions
                  A = concat_i(a_i v W_i^V) W^O,  a_i = softmax(q W_i^Q (k W_i^K)^T / sqrt(d / heads))
    feed-forward  norm(x + drop(W_2 drop(relu(W_1 x))))

B is the number of pictures, K of queries, N of what they look at, d the width.
"""

import torch
from torch import Tensor, nn

from mmlattn.utils.arguments import check_number, check_whole
from mmlattn.utils.errors import UserError


class AttentionBlock(nn.Module):
    """norm(x + drop(A(q, k, v))), d = ``dims``, by torch's ``MultiheadAttention``."""

    def __init__(self, dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dims, num_heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dims)

    def forward(
        self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, with_maps: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """From x and query (B, K, d), key and value (B, N, d) to (B, K, d), and where each query looked if asked for.

        That is the mean of a_i over the heads, (B, K, N), which sums to 1 over N.
        """
        looked, maps = self.attention(query, key, value, need_weights=with_maps)
        return self.norm(x + self.dropout(looked)), maps


class FeedForwardBlock(nn.Module):
    """norm(x + drop(W_2 drop(relu(W_1 x)))), both with a bias, from ``dims`` over ``hidden_dims`` to ``dims``."""

    def __init__(self, dims: int, hidden_dims: int, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(dims, hidden_dims)
        self.narrow = nn.Linear(hidden_dims, dims)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        out = self.narrow(self.dropout(torch.relu(self.widen(x))))
        return self.norm(x + self.dropout(out))


def check_widths(embed_dims: int, feedforward_dims: int, num_heads: int, dropout: float) -> None:
    """Raises ``UserError`` for sizes that make no transformer."""
    check_whole('embed_dims', embed_dims, 1)
    check_whole('feedforward_dims', feedforward_dims, 1)
    check_whole('num_heads', num_heads, 1)
    check_number('dropout', dropout, least=0, most=1)
    if embed_dims % num_heads:
        raise UserError(
            f'embed_dims={embed_dims} can not be shared evenly among num_heads={num_heads}: set embed_dims to a '
            'multiple of num_heads'
        )

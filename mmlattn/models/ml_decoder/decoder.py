"""The equations of ML-Decoder.

Ridnik et al., "ML-Decoder: Scalable and Versatile Classification Head", WACV 2023, https://arxiv.org/abs/2111.12933,
section 2. K queries look once at a feature map, and each speaks for a group of classes:

    m_n = relu(W_e x_n + b_e)                      the map at location n, d wide        ``embed``
    q   = norm(Q + drop(Q))                        what is left of self-attention
    g   = norm(q + drop(A(q, m, m)))               multi-head cross-attention           ``look``
    h   = norm(g + drop(W_2 drop(relu(W_1 g))))    feed-forward                         ``feed_forward``
    s_c = W_kj . h_k + b_c,  k = floor(c / ceil(C / K))                                 ``classify``

A decoder's self-attention among the queries gives the same for every picture when the queries are fixed, so it is
left out; its residual and norm stay, as in the authors' code. The queries Q are random numbers that are not learnt,
for training them changes nothing that W^Q could not learn. Unseen classes (the paper's zero-shot head with the
vectors of words for queries) are not built here.

B is the number of pictures, K of queries, C of classes, N = h * w of locations, d the width.
"""

import torch
from torch import Tensor, nn

from mmlattn.models.layers.group_linear import GroupLinear
from mmlattn.models.layers.transformer_blocks import AttentionBlock, FeedForwardBlock


class MLDecoder(nn.Module):
    """K queries, one cross-attention, C logits.

    Args:
        num_classes (int): C.
        num_queries (int): K, at most C.
        in_channels (int): D, channels of the map.
        embed_dims (int): d.
        feedforward_dims (int): Width of W_1 g.
        num_heads (int): Of the attention.
        dropout (float): Of both blocks and of the queries.
        learnable_queries (bool): Whether Q is learnt.
    """

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        in_channels: int,
        embed_dims: int,
        feedforward_dims: int,
        num_heads: int,
        dropout: float,
        learnable_queries: bool,
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, embed_dims), requires_grad=learnable_queries)
        self.embed = nn.Linear(in_channels, embed_dims)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embed_dims)
        self.look = AttentionBlock(embed_dims, num_heads, dropout)
        self.feed_forward = FeedForwardBlock(embed_dims, feedforward_dims, dropout)
        self.classify = GroupLinear(num_classes, num_queries, embed_dims)
        # As in the authors' code; "fan in" and "fan out" of three axes are torch's reading of them.
        nn.init.xavier_normal_(self.classify.weight)

    def decode(self, x: Tensor, with_maps: bool = False) -> tuple[Tensor, Tensor | None]:
        """The decoded queries h (B, K, d) of a map (B, D, h, w), and if asked for their attention (B, K, N)."""
        memory = torch.relu(self.embed(x.flatten(2).transpose(1, 2)))
        queries = self.queries.to(memory.dtype).expand(x.shape[0], -1, -1)
        queries = self.norm(queries + self.dropout(queries))
        looked, maps = self.look(queries, queries, memory, memory, with_maps)
        return self.feed_forward(looked), maps

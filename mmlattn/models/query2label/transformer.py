"""The equations of Query2Label.

Liu et al., "Query2Label: A Simple Transformer Way to Multi-Label Classification", https://arxiv.org/abs/2107.10834,
section 3. Each class has a learnt query e_c that pools what it needs from the map:

    m_n = W_p x_n + b_p                                   1 x 1 projection to d channels     ``project``
    m   = F(norm(m + A(m + p, m + p, m)))                 each encoder layer, p positions    ``encoder``
    t   = 0                                               the decoder starts with nothing
    t   = norm(t + A(t + e, t + e, t))                    self-attention, in all decoder layers but the first
    t   = F(norm(t + A(t + e, m + p, m)))                 each decoder layer                 ``decoder``
    s_c = w_c . norm(t)_c + b_c                           a row for each class               ``classify``

A is multi-head attention and F the feed-forward block, norm(t + W_2 relu(W_1 t)), both with dropout in training:
see ``layers/transformer_blocks.py``. Positions are added to what is compared and never to what is read, as in DETR.
Self-attention can be left out, as the authors' code does unless it is asked not to. In the first layer it would read
zeros alone, and add the same to every query of every picture, so there it never is.

B is the number of pictures, C of classes, N = h * w of locations, d the width.
"""

import torch
from torch import Tensor, nn

from mmlattn.models.layers.group_linear import GroupLinear
from mmlattn.models.layers.transformer_blocks import AttentionBlock, FeedForwardBlock

from .positions import sine_positions


class EncoderLayer(nn.Module):
    """All locations look at each other."""

    def __init__(self, dims: int, feedforward_dims: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.look = AttentionBlock(dims, num_heads, dropout)
        self.feed_forward = FeedForwardBlock(dims, feedforward_dims, dropout)

    def forward(self, memory: Tensor, positions: Tensor) -> Tensor:
        """From locations (B, N, d) and their positions (N, d) to (B, N, d)."""
        placed = memory + positions
        return self.feed_forward(self.look(memory, placed, placed, memory)[0])


class DecoderLayer(nn.Module):
    """The queries look at each other, if ``self_attention``, and then at the map."""

    def __init__(
        self, dims: int, feedforward_dims: int, num_heads: int, dropout: float, self_attention: bool
    ) -> None:
        super().__init__()
        self.confer = AttentionBlock(dims, num_heads, dropout) if self_attention else None
        self.look = AttentionBlock(dims, num_heads, dropout)
        self.feed_forward = FeedForwardBlock(dims, feedforward_dims, dropout)

    def forward(
        self, found: Tensor, queries: Tensor, memory: Tensor, positions: Tensor, with_maps: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """From what was found so far (B, C, d) to more of it, and if asked for where each query looked, (B, C, N).

        Queries are (C, d), locations (B, N, d), their positions (N, d).
        """
        if self.confer is not None:
            found, _ = self.confer(found, found + queries, found + queries, found)
        found, maps = self.look(found, found + queries, memory + positions, memory, with_maps)
        return self.feed_forward(found), maps


class LabelTransformer(nn.Module):
    """A query for each class, C logits.

    Args:
        num_classes (int): C.
        in_channels (int): D, channels of the map.
        embed_dims (int, optional): d; None is D, without a projection.
        feedforward_dims (int): Width inside the feed-forward blocks.
        num_heads (int): Of each attention.
        num_encoder_layers (int): Layers over the map.
        num_decoder_layers (int): Layers over the queries, 1 or more.
        self_attention (bool): Whether the queries look at each other in each decoder layer but the first.
        dropout (float): Of all blocks.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        embed_dims: int | None,
        feedforward_dims: int,
        num_heads: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        self_attention: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        dims = embed_dims or in_channels
        self.project = nn.Identity() if embed_dims is None else nn.Linear(in_channels, dims)
        sizes = (dims, feedforward_dims, num_heads, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(
            DecoderLayer(*sizes, self_attention and number > 0) for number in range(num_decoder_layers)
        )
        self.norm = nn.LayerNorm(dims)
        self.queries = nn.Parameter(torch.randn(num_classes, dims))
        self.classify = GroupLinear(num_classes, num_classes, dims)
        # As DETR starts.
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def decode(self, x: Tensor, with_maps: bool = False) -> tuple[Tensor, Tensor | None]:
        """What was found for each class, (B, C, d), in a map (B, D, h, w).

        If asked for, also where it was looked for, (B, C, N), in the last decoder layer.
        """
        memory = self.project(x.flatten(2).transpose(1, 2))
        positions = sine_positions(*x.shape[-2:], memory.shape[-1], like=memory)
        for layer in self.encoder:
            memory = layer(memory, positions)
        found, maps = memory.new_zeros(x.shape[0], *self.queries.shape), None
        for number, layer in enumerate(self.decoder, start=1):
            found, maps = layer(
                found, self.queries, memory, positions, with_maps and number == len(self.decoder)
            )
        return self.norm(found), maps

"""A decoder that looks at another part of the picture for every label.

The joint space of CNN-RNN (``joint_decoder.py``) with the additive attention of Xu et al., "Show, Attend and Tell",
ICML 2015, https://arxiv.org/abs/1502.03044, over the locations m_n of a feature map:

    e_tn = v . tanh(K m_n + Q h_t-1)             ``attend``
    a_t = softmax_n(e_t)
    z_t = sigmoid(G h_t-1 + b) * sum_n a_tn m_n  gated, channel by channel; Xu et al. have one gate for all
    h_t, c_t = LSTM([w_t, z_t], h_t-1, c_t-1)
    x_t = relu(U_o h_t + U_z z_t)
    s_t = U' x_t

B is the number of pictures, W of paths of each, H the width of the LSTM, N the number of locations, D their width, A
that of the attention.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlattn.models.layers.lstm_cell import LSTMCell
from mmlattn.models.layers.precision import as_read_by, full_precision
from mmlattn.utils.arguments import check_number, check_whole

from .joint_decoder import LabelEmbedding


class Memory(NamedTuple):
    """What the decoder looks at: locations m (B, N, D) and their keys K m (B, N, A), which no step changes."""

    values: Tensor
    keys: Tensor


class AttentionDecoder(nn.Module):
    """One label after another, each with its own look at a feature map.

    ``attention_dims`` is A: a step holds W x N x A numbers for each picture. The other arguments are as for
    ``JointDecoder``.
    """

    reads_map = True

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        embed_dims: int = 256,
        hidden_dims: int = 512,
        attention_dims: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole('embed_dims', embed_dims, 1)
        check_whole('hidden_dims', hidden_dims, 1)
        check_whole('attention_dims', attention_dims, 1)
        check_number('dropout', dropout, least=0, most=1)
        self.labels = LabelEmbedding(num_classes, embed_dims)
        self.cell = LSTMCell(embed_dims + in_channels, hidden_dims, cell_out='tanh')
        self.first_state = nn.Linear(in_channels, 2 * hidden_dims)
        self.key = nn.Linear(in_channels, attention_dims)
        self.query = nn.Linear(hidden_dims, attention_dims, bias=False)
        # v; a bias would not change the softmax.
        self.energy = nn.Linear(attention_dims, 1, bias=False)
        self.gate = nn.Linear(hidden_dims, in_channels)
        # U_o and U_z.
        self.history = nn.Linear(hidden_dims, embed_dims, bias=False)
        self.picture = nn.Linear(in_channels, embed_dims, bias=False)
        self.dropout = nn.Dropout(dropout)

    def context(self, feature_map: Tensor) -> Memory:
        """Locations and keys of a feature map (B, D, h, w), row by row."""
        values = feature_map.flatten(2).transpose(1, 2)
        return Memory(values, self.key(values))

    def start(self, context: Memory) -> tuple[Tensor, Tensor]:
        """The state before START, from the mean of all locations: two tensors (B, 1, H)."""
        out, state = self.first_state(context.values.mean(dim=1, keepdim=True)).tanh().chunk(2, dim=-1)
        return out, state

    def attend(self, hidden: Tensor, context: Memory) -> Tensor:
        """Where each of W paths looks: h (B, W, H) to a (B, W, N), which sums to 1 over N."""
        compared = (context.keys[:, None] + self.query(hidden.to(context.keys.dtype))[:, :, None]).tanh()
        return self.energy(compared)[..., 0].softmax(dim=-1)

    def step(
        self, tokens: Tensor, state: tuple[Tensor, Tensor], context: Memory
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Score what may follow; as ``JointDecoder.step``."""
        hidden = state[0].to(context.values.dtype)
        looked = self.attend(hidden, context).to(context.values.dtype) @ context.values
        looked = self.gate(hidden).sigmoid() * looked
        state = self.cell(torch.cat((self.labels.embed(tokens).to(looked.dtype), looked), dim=-1), state)
        with full_precision(looked):
            history = self.history(as_read_by(self.history, state[0]))
            picture = self.picture(as_read_by(self.picture, looked))
            return self.labels.score(torch.relu(self.dropout(history) + self.dropout(picture))), state

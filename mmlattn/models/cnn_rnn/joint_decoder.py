"""The decoder of CNN-RNN: labels, their history and the picture meet in one embedding space.

Wang et al., "CNN-RNN: A Unified Framework for Multi-label Image Classification", CVPR 2016, section 3,
https://arxiv.org/abs/1604.04573. U is the embedding of the labels, I the feature of the picture; for t = 1, 2 ...

    w_t = U e                          e picks the label emitted last, START at first    ``embed``
    o_t, r_t = LSTM(r_t-1, w_t)                                                          ``cell``
    x_t = relu(U_o o_t + U_I I)        the picture enters here and nowhere else          ``join``
    s_t = U' x_t                       tied to the embedding, no bias; END is a row      ``score``
    P(l_t | I, l_1 ... l_t-1) = softmax(s_t)
"""

import torch
from torch import Tensor, nn

from mmlattn.models.layers.lstm_cell import LSTMCell, SingleStateCell
from mmlattn.models.layers.precision import full_precision
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError

__all__ = [
    'CELLS',
    'GATE_ACTS',
    'IMAGE_INTO',
    'JointDecoder',
    'LabelEmbedding',
    'full_precision',
    'make_cell',
]

CELLS = ('lstm', 'paper')
GATE_ACTS = ('sigmoid', 'relu')
IMAGE_INTO = ('joint', 'init', 'input')


class LabelEmbedding(nn.Module):
    """U: a row for each of C labels, for END = C, which is scored, and for START = C + 1, which is only read.

    Args:
        num_labels (int): C.
        dims (int): Width of the space in which labels, history and picture meet.
        tie (bool): Whether labels are scored by the rows they are read by; else by a linear layer of its own.
    """

    def __init__(self, num_labels: int, dims: int, tie: bool = True) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.table = nn.Embedding(num_labels + 2, dims)
        self.untied = None if tie else nn.Linear(dims, num_labels + 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """From zero embeddings relu would pass nothing and no gradient would reach them."""
        nn.init.normal_(self.table.weight, std=0.1)
        if self.untied is not None:
            self.untied.reset_parameters()

    def embed(self, tokens: Tensor) -> Tensor:
        """W = U e: (...) long of 0 ... C + 1 to (..., dims)."""
        return self.table(tokens)

    def score(self, x: Tensor) -> Tensor:
        """S = U' x: (..., dims) to raw scores (..., C + 1) of the labels and END."""
        if self.untied is not None:
            return self.untied(x)
        return nn.functional.linear(x, self.table.weight[: self.num_labels + 1])


def make_cell(cell: str, in_dims: int, hidden_dims: int, gate_act: str = 'sigmoid') -> nn.Module:
    """The standard LSTM cell ('lstm') or the one the paper prints ('paper')."""
    check_choice('cell', cell, CELLS)
    check_choice('gate_act', gate_act, GATE_ACTS)
    if cell == 'paper':
        return SingleStateCell(in_dims, hidden_dims, gate_act)
    if gate_act != 'sigmoid':
        raise UserError(f"gate_act={gate_act!r} is of cell='paper'; the usual LSTM has sigmoids")
    return LSTMCell(in_dims, hidden_dims, cell_out='tanh')


class JointDecoder(nn.Module):
    """One label after another, from a picture's feature vector.

    Args:
        num_labels (int): C.
        in_dims (int): Width of the picture's feature I.
        embed_dims (int): Width of the joint space.
        hidden_dims (int): Width of the LSTM.
        cell (str): 'lstm', the standard one, or 'paper', see :class:`SingleStateCell`.
        gate_act (str): Of the paper's cell, 'sigmoid' or 'relu'.
        image_into (str): 'joint', the paper's: the picture is added in the joint space. For comparison, 'init': it
            makes the first state, and 'input': it is read before START, as captioning does.
        tie (bool): See :class:`LabelEmbedding`.
        dropout (float): On both projections into the joint space, in training.

    Raises:
        UserError: For an unknown name or an impossible number.
    """

    reads_map = False

    def __init__(
        self,
        num_labels: int,
        in_dims: int,
        *,
        embed_dims: int = 64,
        hidden_dims: int = 512,
        cell: str = 'lstm',
        gate_act: str = 'sigmoid',
        image_into: str = 'joint',
        tie: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole('embed_dims', embed_dims, 1)
        check_whole('hidden_dims', hidden_dims, 1)
        check_choice('image_into', image_into, IMAGE_INTO)
        check_number('dropout', dropout, least=0)
        self.image_into = image_into
        self.hidden_dims = hidden_dims
        self.labels = LabelEmbedding(num_labels, embed_dims, tie)
        self.cell = make_cell(cell, embed_dims, hidden_dims, gate_act)
        self.history = nn.Linear(hidden_dims, embed_dims, bias=False)  # U_o
        width = 2 * hidden_dims if image_into == 'init' else embed_dims
        self.picture = nn.Linear(in_dims, width, bias=False)  # U_I
        self.dropout = nn.Dropout(dropout)

    def context(self, feature: Tensor) -> Tensor:
        """U_I I, which is the same at every step: (B, in_dims) to (B, 1, embed_dims); for 'init' (B, 1, 2 H)."""
        with full_precision(feature):
            return self.dropout(self.picture(feature.to(self.picture.weight.dtype)))[:, None]

    def start(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The state before START, two tensors (B, 1, hidden_dims)."""
        if self.image_into == 'init':
            out, state = context.tanh().chunk(2, dim=-1)
            return out, state
        zeros = context.new_zeros(context.shape[0], 1, self.hidden_dims)
        return self.cell(context, (zeros, zeros)) if self.image_into == 'input' else (zeros, zeros)

    def step(
        self, tokens: Tensor, state: tuple[Tensor, Tensor], context: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Score what may follow.

        Args:
            tokens (Tensor): Shape (B, W) long, what W paths of each picture emitted last.
            state (tuple[Tensor, Tensor]): Two tensors (B, W, hidden_dims).
            context (Tensor): From ``context``.

        Returns:
            tuple: Raw scores (B, W, C + 1), END last, and the new state.
        """
        state = self.cell(self.labels.embed(tokens), state)
        with full_precision(context):
            joined = self.dropout(self.history(state[0].to(context.dtype)))
            if self.image_into == 'joint':
                joined = joined + context
            return self.labels.score(torch.relu(joined)), state

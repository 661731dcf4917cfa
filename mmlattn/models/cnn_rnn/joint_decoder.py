"""The decoder of CNN-RNN: labels, their history and the picture meet in one embedding space.

Wang et al., "CNN-RNN: A Unified Framework for Multi-label Image Classification", CVPR 2016, section 3,
https://arxiv.org/abs/1604.04573. U is the embedding of the labels, I the feature of the picture; for t = 1, 2 ...

    w_t = U e                          e picks the label emitted last, START at first    ``embed``
    o_t, r_t = LSTM(r_t-1, w_t)                                                          ``cell``
    x_t = relu(U_o o_t + U_I I)        the picture enters here and nowhere else          ``step``
    s_t = U' x_t                       tied to the embedding, no bias; END is a row      ``score``
    P(l_t | I, l_1 ... l_t-1) = softmax(s_t)                                             ``paths.path_log_probs``

B is the number of pictures, W of paths of each, H the width of the LSTM, C the number of labels.
"""

import torch
from torch import Tensor, nn

from mmlattn.models.layers.lstm_cell import LSTMCell
from mmlattn.models.layers.precision import as_read_by, full_precision, widen
from mmlattn.utils.arguments import check_choice, check_number, check_whole
from mmlattn.utils.errors import UserError


class LabelEmbedding(nn.Module):
    """U: a row for each of C labels, for END = C, which is scored, and for START = C + 1, which is only read."""

    def __init__(self, num_classes: int, dims: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.table = nn.Embedding(num_classes + 2, dims)
        # From zeros relu would pass nothing and no gradient would reach them.
        nn.init.normal_(self.table.weight, std=0.1)

    def embed(self, tokens: Tensor) -> Tensor:
        """The embedding w = U e: (...) long of 0 ... C + 1 to (..., dims)."""
        return self.table(tokens)

    def score(self, x: Tensor) -> Tensor:
        """Raw scores s = U' x of the labels and END: (..., dims) to (..., C + 1)."""
        return nn.functional.linear(x, self.table.weight[: self.num_classes + 1])


class SingleStateCell(LSTMCell):
    """The recurrence as the paper prints it: one state r, which is also what feeds back.

        x = relu(W_x w + R_x r)      what is new
        i = d(W_i w + R_i r)         input gate
        f = d(W_f w + R_f r)         forget gate
        o = d(W_o w + R_o r)         output gate
        r' = f * r + i * x
        out = r' * o

    d is ``gate_act``. The paper's text names one activation for the gates too, relu, which has no upper bound;
    'relu' is this literal form. The matrices, in the order (i, f, x, o), and their start are those of
    :class:`LSTMCell`; so are the biases, which the paper does not print.
    """

    def __init__(self, in_dims: int, hidden_dims: int, gate_act: str = 'sigmoid') -> None:
        super().__init__(in_dims, hidden_dims)
        check_choice('gate_act', gate_act, ('sigmoid', 'relu'))
        self.gate = dict(sigmoid=torch.sigmoid, relu=torch.relu)[gate_act]

    def forward(self, w: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step: w (..., in_dims), the last out, which is not used, and r to out and r', float32 at least."""
        _, r = state
        rows = widen(self.input(w) + self.hidden(r.to(w.dtype)))
        i, f, x, o = rows.chunk(4, dim=-1)
        r = self.gate(f) * r + self.gate(i) * x.relu()
        return r * self.gate(o), r


class JointDecoder(nn.Module):
    """One label after another, from a picture's feature vector.

    Args:
        num_classes (int): C.
        in_channels (int): Width of the feature I.
        embed_dims (int): Width of the joint space.
        hidden_dims (int): H.
        cell (str): 'lstm', the usual one, or 'paper', see :class:`SingleStateCell`.
        gate_act (str): Of the paper's cell, 'sigmoid' or 'relu'.
        image_into (str): 'joint', the paper's: the picture is added in the joint space. For comparison, 'init': it
            makes the first state, and 'input': it is read before START, as captioning does.
        dropout (float): On both projections into the joint space, in training.

    Raises:
        UserError: For an unknown name or an impossible number.
    """

    reads_map = False

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        embed_dims: int = 64,
        hidden_dims: int = 512,
        cell: str = 'lstm',
        gate_act: str = 'sigmoid',
        image_into: str = 'joint',
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_whole('embed_dims', embed_dims, 1)
        check_whole('hidden_dims', hidden_dims, 1)
        check_choice('cell', cell, ('lstm', 'paper'))
        check_choice('image_into', image_into, ('joint', 'init', 'input'))
        check_number('dropout', dropout, least=0, most=1)
        if cell == 'lstm' and gate_act != 'sigmoid':
            raise UserError(f"gate_act={gate_act!r} is of cell='paper'; the usual LSTM has sigmoids")
        # What the shapes of the weights do not show.
        self.settings = dict(cell=cell, gate_act=gate_act, image_into=image_into)
        self.image_into = image_into
        self.hidden_dims = hidden_dims
        self.labels = LabelEmbedding(num_classes, embed_dims)
        if cell == 'paper':
            self.cell = SingleStateCell(embed_dims, hidden_dims, gate_act)
        else:
            self.cell = LSTMCell(embed_dims, hidden_dims, cell_out='tanh')
        # U_o and U_I.
        self.history = nn.Linear(hidden_dims, embed_dims, bias=False)
        self.picture = nn.Linear(
            in_channels, 2 * hidden_dims if image_into == 'init' else embed_dims, bias=False
        )
        self.dropout = nn.Dropout(dropout)

    def context(self, feature: Tensor) -> Tensor:
        """U_I I, which is the same at every step: (B, in_channels) to (B, 1, embed_dims); for 'init' (B, 1, 2 H)."""
        with full_precision(feature):
            return self.dropout(self.picture(as_read_by(self.picture, feature)))[:, None]

    def start(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """The state before START, two tensors (B, 1, H)."""
        if self.image_into == 'init':
            out, state = context.tanh().chunk(2, dim=-1)
            return out, state
        zeros = context.new_zeros(context.shape[0], 1, self.hidden_dims)
        return self.cell(context, (zeros, zeros)) if self.image_into == 'input' else (zeros, zeros)

    def step(
        self, tokens: Tensor, state: tuple[Tensor, Tensor], context: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Score what may follow the ``tokens`` (B, W) that paths emitted last; the state is two tensors (B, W, H).

        Returns:
            tuple: Raw scores s_t (B, W, C + 1), END last, and the new state.
        """
        state = self.cell(self.labels.embed(tokens), state)
        with full_precision(context):
            joined = self.dropout(self.history(state[0].to(context.dtype)))
            if self.image_into == 'joint':
                joined = joined + context
            return self.labels.score(torch.relu(joined)), state

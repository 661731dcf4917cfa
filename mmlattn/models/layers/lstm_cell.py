"""The LSTM cells of Wang et al., ICCV 2017, of Wang et al., CVPR 2016, and the standard one."""

import torch
from torch import Tensor, nn

from mmlattn.utils.arguments import check_choice

__all__ = ['LSTMCell', 'SingleStateCell']


class LSTMCell(nn.Module):
    """One step of an LSTM; the paper's, unlike the usual one, puts out its state without a tanh.

        i = sigmoid(W_xi x + W_hi h + b_i)      input gate
        f = sigmoid(W_xf x + W_hf h + b_f)      forget gate; the paper calls it g
        m = tanh(W_xm x + W_hm h + b_m)         modulation; PyTorch calls it g
        o = sigmoid(W_xo x + W_ho h + b_o)      output gate
        c' = f * c + i * m
        h' = o * c'                             o * tanh(c') for cell_out='tanh'

    The rows of ``input`` and ``hidden`` are in PyTorch's order (i, f, m, o), so ``cell_out='tanh'`` with the weights
    of ``torch.nn.LSTMCell`` computes the same.

    Args:
        in_dims (int): Width of x.
        hidden_dims (int): Width of h and c.
        cell_out (str): 'identity', the paper's, or 'tanh'.
    """

    def __init__(self, in_dims: int, hidden_dims: int, cell_out: str = 'identity') -> None:
        super().__init__()
        check_choice('cell_out', cell_out, ('identity', 'tanh'))
        self.cell_out = cell_out
        self.input = nn.Linear(in_dims, 4 * hidden_dims)
        self.hidden = nn.Linear(hidden_dims, 4 * hidden_dims, bias=False)
        self.reset_parameters()

    def reset_parameters(self, gain: float = 1.0) -> None:
        """Xavier's uniform start for the matrix of each gate, biases 0.

        Over all four gates at once it would count four times the outputs and start them too small.
        """
        for weight in (self.input.weight, self.hidden.weight):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate, gain)
        nn.init.zeros_(self.input.bias)

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """H = c = 0 for a batch of inputs ``x``, shape (B, in_dims)."""
        zeros = x.new_zeros(x.shape[0], self.hidden.in_features)
        return zeros, zeros

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            x (Tensor): Shape (B, in_dims).
            state (tuple[Tensor, Tensor]): h and c, each (B, hidden_dims).

        Returns:
            tuple[Tensor, Tensor]: The new h and c, float32 also under autocast: c adds up over the steps.
        """
        h, c = state
        gates = (self.input(x) + self.hidden(h.to(x.dtype))).to(torch.promote_types(c.dtype, torch.float32))
        i, f, m, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * m.tanh()
        h = o.sigmoid() * (c if self.cell_out == 'identity' else c.tanh())
        return h, c


class SingleStateCell(nn.Module):
    """The recurrence of CNN-RNN (CVPR 2016, section 3) as it is printed: one state r, which is also what feeds back.

        x = relu(W_x w + R_x r)      what is new
        i = d(W_i w + R_i r)         input gate
        f = d(W_f w + R_f r)         forget gate
        o = d(W_o w + R_o r)         output gate
        r' = f * r + i * x
        out = r' * o

    The paper's text names one activation for the gates too, relu, which has no upper bound; ``gate_act='relu'`` is
    this literal form. The rows of ``input`` and ``hidden`` are in the order (i, f, x, o), as in :class:`LSTMCell`.

    Args:
        in_dims (int): Width of w.
        hidden_dims (int): Width of r and of what is put out.
        gate_act (str): d, 'sigmoid' or 'relu'.
    """

    def __init__(self, in_dims: int, hidden_dims: int, gate_act: str = 'sigmoid') -> None:
        super().__init__()
        check_choice('gate_act', gate_act, ('sigmoid', 'relu'))
        self.gate_act = gate_act
        self.input = nn.Linear(in_dims, 4 * hidden_dims)  # the paper prints no biases
        self.hidden = nn.Linear(hidden_dims, 4 * hidden_dims, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier's uniform start for the matrix of each gate, biases 0."""
        for weight in (self.input.weight, self.hidden.weight):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate)
        nn.init.zeros_(self.input.bias)

    def forward(self, w: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            w (Tensor): Shape (..., in_dims).
            state (tuple[Tensor, Tensor]): What was put out, which is not used, and r, each (..., hidden_dims).

        Returns:
            tuple[Tensor, Tensor]: What is put out, and the new r; float32 also under autocast.
        """
        _, r = state
        rows = (self.input(w) + self.hidden(r.to(w.dtype))).to(torch.promote_types(r.dtype, torch.float32))
        i, f, x, o = rows.chunk(4, dim=-1)
        gate = torch.sigmoid if self.gate_act == 'sigmoid' else torch.relu
        r = gate(f) * r + gate(i) * x.relu()
        return r * gate(o), r

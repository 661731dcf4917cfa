"""The LSTM cell of Wang et al., ICCV 2017, and the standard one."""

from torch import Tensor, nn

from mmlattn.utils.arguments import check_choice

from .precision import widen


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

    def reset_parameters(self) -> None:
        """Xavier's uniform start for the matrix of each gate, biases 0.

        Over all four gates at once it would count four times the outputs and start them too small.
        """
        for weight in (self.input.weight, self.hidden.weight):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate)
        nn.init.zeros_(self.input.bias)

    def start(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The state before the first of inputs like ``x`` (B, in_dims): h = c = 0."""
        zeros = x.new_zeros(x.shape[0], self.hidden.in_features)
        return zeros, zeros

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step from x (B, in_dims) and (h, c), each (B, hidden_dims), to the new h and c.

        They are float32 also under autocast: c adds up over the steps.
        """
        h, c = state
        gates = widen(self.input(x) + self.hidden(h.to(x.dtype)))
        i, f, m, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * m.tanh()
        h = o.sigmoid() * (c if self.cell_out == 'identity' else c.tanh())
        return h, c
